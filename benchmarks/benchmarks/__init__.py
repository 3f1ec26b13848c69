"""The suites that asv runs; names that start with time_, track_ or peakmem_ are measured."""
