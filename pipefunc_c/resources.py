"""`Resources`: what a function needs of a machine or a cluster, and the arithmetic of such needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from pipefunc_c._quantities import (
    check_memory,
    check_time,
    memory_bytes,
    slurm_memory,
    slurm_time,
    time_seconds,
    whole_number,
)
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError

__all__ = ["Resources"]

# `Resources.dict` hides the builtin inside of the class.
Options: TypeAlias = dict[str, Any]
Mode: TypeAlias = Literal["external", "internal"]
ResourcesCallable: TypeAlias = Callable[[dict[str, Any]], "Resources"]

MODES = ("external", "internal")


# The mode if nobody chose one, so that defaults may take its place. It is known by its identity, which copies
# and dicts keep: a type of its own would come out where users write resources to a file.
IMPLIED_MODE = cast("Mode", "".join(["exter", "nal"]))


@dataclass(frozen=True)
class Resources:
    """Say what one call, or one map, of a function needs.

    Parameters
    ----------
    cpus
        Number of CPUs, on one node.
    cpus_per_node
        Number of CPUs on each node; only together with `nodes`.
    nodes
        Number of nodes; not together with `cpus`.
    memory
        Memory, as a number and a unit without a space: ``"500MB"``, ``"1.5GB"``. Units are powers of 1024.
    gpus
        Number of GPUs.
    time
        Time limit: ``"minutes:seconds"``, ``"hours:minutes:seconds"`` or ``"days:hours:minutes:seconds"``,
        with two digits in all places but the first of three or four.
    partition
        Partition of the cluster.
    extra_args
        More options of the scheduler; copied.
    parallelization_mode
        ``"external"``: the calls of the function may run in parallel; ``"internal"``: each call uses the
        resources itself.

    Raises
    ------
    InvalidValueError
        If a value is out of range or malformed, or values exclude each other.
    InvalidTypeError
        If a value has a wrong type.

    Examples
    --------
    >>> Resources(cpus=4.0, memory="16GB", time="2:00:00").to_slurm_options()
    '--cpus-per-task=4 --mem=16GB --time=2:00:00'
    >>> Resources(cpus=2.5)
    Traceback (most recent call last):
        ...
    pipefunc_c.exceptions.InvalidValueError: `cpus` must be a whole number, got 2.5
    Hint: Round it up with math.ceil.

    """

    cpus: int | None = None
    cpus_per_node: int | None = None
    nodes: int | None = None
    memory: str | None = None
    gpus: int | None = None
    time: str | None = None
    partition: str | None = None
    extra_args: Options = field(default_factory=dict, hash=False)
    parallelization_mode: Mode = IMPLIED_MODE

    def __post_init__(self) -> None:
        for name, least in (("cpus", 1), ("cpus_per_node", 1), ("nodes", 1), ("gpus", 0)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))
        check_memory(self.memory)
        check_time(self.time)
        _check_partition(self.partition)
        if self.nodes is not None and self.cpus is not None:
            message = f"`nodes` ({self.nodes}) and `cpus` ({self.cpus}) exclude each other"
            hint = "Use `nodes` with `cpus_per_node`, or `cpus` alone."
            raise InvalidValueError(message, detail=("nodes", "cpus"), hint=hint)
        if self.cpus_per_node is not None and self.nodes is None:
            message = f"`cpus_per_node` ({self.cpus_per_node}) needs `nodes`"
            raise InvalidValueError(message, detail="cpus_per_node", hint="Give `nodes`, or use `cpus`.")
        check_mode(self.parallelization_mode)
        object.__setattr__(self, "extra_args", _copy_of_extras(self.extra_args))

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Resources:
        """Make resources from a dict.

        Parameters
        ----------
        data
            Value per name, as for the constructor.

        Returns
        -------
        Resources
            The resources.

        Raises
        ------
        InvalidTypeError
            If it is no dict, or has an unknown name.
        InvalidValueError
            As the constructor.

        Examples
        --------
        >>> Resources.from_dict({"cpus": 4}).cpus
        4

        """
        given: object = data
        if not isinstance(given, Mapping):
            message = f"resources must be given as a dict or as Resources, got {given!r}"
            raise InvalidTypeError(message, detail=given)
        for name in data:
            if name not in _FIELDS:
                message = f"resources have no {name!r}; they have {', '.join(_FIELDS)}"
                hint = "Options of the scheduler itself go into `extra_args`."
                raise InvalidTypeError(message, detail=name, hint=hint)
        return Resources(**data)

    @staticmethod
    def maybe_from_dict(
        resources: Resources | Mapping[str, Any] | Callable[[Options], Any] | None,
    ) -> Resources | ResourcesCallable | None:
        """Make resources from all that users may give for them.

        Parameters
        ----------
        resources
            None, resources, a dict, or a function that gets the arguments and returns one of the last two.

        Returns
        -------
        Resources, callable or None
            The same as resources; of a function, one that always returns `Resources`.

        Raises
        ------
        InvalidTypeError
            If it is something else, or a dict with an unknown name.
        InvalidValueError
            As the constructor.

        Examples
        --------
        >>> Resources.maybe_from_dict(lambda kwargs: {"cpus": kwargs["n"]})({"n": 2}).cpus
        2

        """
        if resources is None or isinstance(resources, Resources | Converted):
            return resources
        if callable(resources):
            return Converted(resources)
        return Resources.from_dict(resources)

    @staticmethod
    def maybe_with_defaults(
        resources: Resources | ResourcesCallable | None,
        default_resources: Resources | ResourcesCallable | None,
    ) -> Resources | ResourcesCallable | None:
        """Fill in what resources leave open, also where a function returns them.

        Parameters
        ----------
        resources, default_resources
            As for `maybe_from_dict`.

        Returns
        -------
        Resources, callable or None
            A function if one of the two is a function; None if both are None.

        Examples
        --------
        >>> filled = Resources.maybe_with_defaults(lambda kwargs: {"cpus": 2}, Resources(memory="1GB"))
        >>> filled({}).memory
        '1GB'

        """
        own, default = map(Resources.maybe_from_dict, (resources, default_resources))
        if own is None or default is None:
            return default if own is None else own
        if isinstance(own, Resources) and isinstance(default, Resources):
            return own.with_defaults(default)
        return Converted(_Filled(own, default))

    def with_defaults(self, default_resources: Resources | Mapping[str, Any] | None) -> Resources:
        """Fill in what is left open.

        Parameters
        ----------
        default_resources
            What holds where nothing was chosen. CPUs and nodes are one choice: defaults for them are left
            out if they exclude what was chosen.

        Returns
        -------
        Resources
            New resources.

        Examples
        --------
        >>> default = Resources(nodes=2, cpus_per_node=8, time="1:00:00", extra_args={"qos": "low"})
        >>> Resources(cpus=4, extra_args={"mail-type": "end"}).with_defaults(default).to_slurm_options()
        '--cpus-per-task=4 --time=1:00:00 --qos=low --mail-type=end'

        """
        default = Resources.maybe_from_dict(default_resources)
        if default is None:
            return self
        if not isinstance(default, Resources):
            message = f"default resources must be Resources or a dict here, got {default!r}"
            hint = "Resources.maybe_with_defaults takes functions too."
            raise InvalidTypeError(message, detail=default, hint=hint)
        values = {**default._chosen(), **self._chosen()}
        if self.cpus is not None:
            values.pop("nodes", None)
            values.pop("cpus_per_node", None)
        elif self.nodes is not None:
            values.pop("cpus", None)
        return Resources(**{**values, "extra_args": {**default.extra_args, **self.extra_args}})

    def update(self, **kwargs: Any) -> Resources:
        """Return resources with other values.

        Parameters
        ----------
        **kwargs
            Values by name; ``extra_args`` are added to the present ones, and so is what has another name.

        Returns
        -------
        Resources
            New resources; these stay as they are.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            As the constructor.

        Examples
        --------
        >>> Resources(cpus=2).update(cpus=4, qos="high").to_slurm_options()
        '--cpus-per-task=4 --qos=high'

        """
        known = {name: value for name, value in kwargs.items() if name in _FIELDS}
        more = {name: value for name, value in kwargs.items() if name not in _FIELDS}
        extras = {**self.extra_args, **_copy_of_extras(known.pop("extra_args", None) or {}), **more}
        return Resources(**{**self._chosen(), **known, "extra_args": extras})

    @staticmethod
    def combine_max(resources_list: Iterable[Resources | Mapping[str, Any]]) -> Resources:
        """Combine the needs of functions that run one after another in the same place.

        Parameters
        ----------
        resources_list
            The needs.

        Returns
        -------
        Resources
            Of CPUs, nodes, GPUs, memory and time the most; the last partition; of each extra option the
            first; ``"internal"`` if one of them says so. Where some want nodes and others CPUs, the latter
            count as one node.

        Examples
        --------
        >>> both = [Resources(cpus=2, time="9:00:00"), Resources(cpus=1, time="10:00:00", memory="1GB")]
        >>> Resources.combine_max(both).to_slurm_options()
        '--cpus-per-task=2 --mem=1GB --time=10:00:00'

        """
        needs = [_static(each) for each in resources_list]
        values: Options = {
            name: max((v for each in needs if (v := getattr(each, name)) is not None), key=size, default=None)
            for name, size in _SIZES.items()
        }
        if values["nodes"] is not None:
            per_node = [n for n in (values.pop("cpus"), values["cpus_per_node"]) if n is not None]
            values["cpus_per_node"] = max(per_node, default=None)
        values["partition"] = next((n.partition for n in reversed(needs) if n.partition is not None), None)
        values["extra_args"] = {k: v for each in reversed(needs) for k, v in each.extra_args.items()}
        modes = {each.parallelization_mode for each in needs if each.parallelization_mode is not IMPLIED_MODE}
        if modes:
            values["parallelization_mode"] = "internal" if "internal" in modes else "external"
        return Resources(**values)

    def to_slurm_options(self) -> str:
        """Write the resources as options of ``sbatch``.

        Returns
        -------
        str
            The options, separated by spaces; ``""`` if nothing was chosen. Memory that Slurm does not read
            is given in megabytes, rounded up; days are set off with a dash.

        Examples
        --------
        >>> Resources(nodes=2, cpus_per_node=8, memory="1.5GB", time="1:12:00:00").to_slurm_options()
        '--nodes=2 --ntasks-per-node=8 --mem=1536MB --time=1-12:00:00'

        """
        values = {
            "cpus-per-task": self.cpus,
            "gres": f"gpu:{self.gpus}" if self.gpus else None,
            "nodes": self.nodes,
            "ntasks-per-node": self.cpus_per_node,
            "mem": None if self.memory is None else slurm_memory(self.memory),
            "time": None if self.time is None else slurm_time(self.time),
            "partition": self.partition,
        }
        options = [f"--{name}={value}" for name, value in values.items() if value is not None]
        return " ".join([*options, *(f"--{name}={value}" for name, value in self.extra_args.items())])

    def dict(self) -> Options:
        """Return the values by name, without those that are None.

        Returns
        -------
        dict
            What `from_dict` takes.

        Examples
        --------
        >>> Resources(cpus=2).dict()
        {'cpus': 2, 'extra_args': {}, 'parallelization_mode': 'external'}

        """
        values = {name: getattr(self, name) for name in _FIELDS}
        return {**{k: v for k, v in values.items() if v is not None}, "extra_args": dict(self.extra_args)}

    def __repr__(self) -> str:
        values = {name: value for name, value in self._chosen().items() if value != {}}
        return f"Resources({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    def __getstate__(self) -> Options:
        # A pickle does not keep the identity of a str.
        return {name: value for name, value in self.__dict__.items() if value is not IMPLIED_MODE}

    def __setstate__(self, state: Options) -> None:
        self.__dict__.update({"parallelization_mode": IMPLIED_MODE, **state})

    def _chosen(self) -> Options:
        values = self.dict()
        if self.parallelization_mode is IMPLIED_MODE:
            del values["parallelization_mode"]
        return values

    def with_mode(self, mode: Mode) -> Resources:
        """Return resources with a parallelization mode.

        Parameters
        ----------
        mode
            ``"external"`` or ``"internal"``.

        Returns
        -------
        Resources
            New resources.

        Raises
        ------
        InvalidValueError
            If another mode was chosen, or there is no such mode.

        """
        check_mode(mode)
        chosen = self.parallelization_mode
        if chosen != mode and chosen is not IMPLIED_MODE:
            message = f"the parallelization mode is {mode!r}, but that of the resources is {chosen!r}"
            raise InvalidValueError(message, detail=mode, hint="Give it in one place.")
        return self.update(parallelization_mode=mode)


_FIELDS = tuple(item.name for item in dataclasses.fields(Resources))


@dataclass(frozen=True)
class Converted:
    """Call a user's function that returns resources or a dict of them, and give `Resources`."""

    function: Callable[[Options], Any]

    def __call__(self, kwargs: Options) -> Resources:
        """Return the resources for these arguments."""
        result: Any = self.function(kwargs)
        if isinstance(result, Resources):
            return result
        if not isinstance(result, Mapping):
            message = f"a function that is given as resources must return Resources or a dict, got {result!r}"
            raise InvalidTypeError(message, detail=result)
        return Resources.from_dict(result)


@dataclass(frozen=True)
class _Filled:
    """Fill in the defaults when the arguments are known."""

    resources: Resources | ResourcesCallable
    default: Resources | ResourcesCallable

    def __call__(self, kwargs: Options) -> Resources:
        """Return the resources for these arguments."""
        own, default = (r if isinstance(r, Resources) else r(kwargs) for r in (self.resources, self.default))
        return own.with_defaults(default)


@dataclass(frozen=True)
class WithMode:
    """Set the parallelization mode when the arguments are known."""

    resources: ResourcesCallable
    mode: Mode

    def __call__(self, kwargs: Options) -> Resources:
        """Return the resources for these arguments."""
        return self.resources(kwargs).with_mode(self.mode)


def check_mode(mode: object) -> None:
    """Refuse what is no parallelization mode."""
    if not isinstance(mode, str) or mode not in MODES:
        message = f"`parallelization_mode` must be 'external' or 'internal', got {mode!r}"
        raise InvalidValueError(message, detail=mode)


def _check_partition(partition: object) -> None:
    if partition is not None and not isinstance(partition, str):
        message = f"`partition` must be a str, got {partition!r}"
        raise InvalidTypeError(message, detail="partition")


def _copy_of_extras(extra_args: object) -> Options:
    if not isinstance(extra_args, Mapping):
        message = f"`extra_args` must be a dict, got {extra_args!r}"
        raise InvalidTypeError(message, detail="extra_args")
    return dict(extra_args)


def _static(resources: Resources | Mapping[str, Any]) -> Resources:
    return resources if isinstance(resources, Resources) else Resources.from_dict(resources)


_SIZES: Mapping[str, Callable[[Any], float]] = {
    "cpus": int,
    "cpus_per_node": int,
    "nodes": int,
    "memory": memory_bytes,
    "gpus": int,
    "time": time_seconds,
}
