"""The compiled modules and how they are compiled; everything else stands in pyproject.toml."""

import os

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("PIPEFUNC_C_DEBUG", "") not in ("", "0")

DIRECTIVES = {
    "language_level": 3,
    "binding": True,
    "annotation_typing": False,
    "cdivision": True,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "nonecheck": DEBUG,
}

KERNELS = Extension(
    "pipefunc_c._kernels.*",
    ["pipefunc_c/_kernels/*.pyx"],
    include_dirs=[np.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
    extra_compile_args=["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3"],
)

setup(
    ext_modules=cythonize([KERNELS], compiler_directives=DIRECTIVES, build_dir="build/cython", force=DEBUG),
    options={"build_ext": {"parallel": 2}},
)
