"""``@governed``: a function whose effect is the gate's to carry out.

The body of a governed function never runs the effect. It maps the call to the action's arguments (or returns None to
pass the call's own arguments), and the gate decides, records and executes. What the caller gets is the gate's ``Done``::

    @governed("local.process.restart", resource="process:{name}@{env}", wait=300)
    async def restart(name: str, env: str = "prod", *, reason: str) -> Arguments:
        '''Restart a process.'''

    async with gate.session([Intent(text="…", source="…")]):
        done = await restart("checkout", reason="its pool is exhausted")

- ``resource`` is ``type:id@env``; each part may name parameters in braces. It is split before the values go in, so a
  value cannot move a part. Parameters named there are not arguments of the action.
- A parameter called ``reason`` is the request's reason, not an argument.
- ``restart.tool`` is the tool definition for a model (name, description from the docstring, JSON Schema from the
  annotations), and ``restart.from_model({...})`` calls it with a model's input after checking it, so one declaration
  serves people's code and tool use.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, ParamSpec

from pydantic import BaseModel, ConfigDict, create_model

from wicketgate.answers import Done, Json
from wicketgate.gate import current
from wicketgate.words import Resource

P = ParamSpec("P")
Arguments = Mapping[str, Json] | None
"""What a governed body returns: the action's arguments, or None for the call's own."""

_RESOURCE = re.compile(r"(?P<type>[^:@]+):(?P<id>[^:@]+)@(?P<env>[^:@]+)")
_NAMED = re.compile(r"{(\w+)}")


class Governed(Generic[P]):
    """A governed function; await it inside ``async with gate.session(…)``."""

    def __init__(self, body: Callable[P, Awaitable[Arguments]], action: str, resource: str, wait: float) -> None:
        """Raises ``ValueError`` where ``resource`` is not ``type:id@env`` or names no parameter."""
        parts = _RESOURCE.fullmatch(resource)
        self.signature = inspect.signature(body, eval_str=True)
        self._placed = set(_NAMED.findall(resource))
        unknown = self._placed - set(self.signature.parameters)
        if parts is None or unknown:
            what = f"names the unknown parameter `{min(unknown)}`" if unknown else "is not `type:id@env`"
            raise ValueError(f"resource of `{action}` {what}")
        self.body = body
        self.action = action
        self.wait = wait
        self._parts = parts.groupdict()
        self.__name__ = getattr(body, "__name__", action)
        self.__doc__ = body.__doc__
        self.input = _input_model(self.__name__, self.signature)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Done:
        """Ask the gate; raises what ``Gate.act`` raises."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named = bound.arguments
        mapped = await self.body(*args, **kwargs)
        own = {name: value for name, value in named.items() if name not in self._placed and name != "reason"}
        gate, session = current()
        return await gate.act(
            self.action,
            Resource(**{part: text.format_map(_Texts(named)) for part, text in self._parts.items()}),
            own if mapped is None else mapped,
            reason=str(named.get("reason", "")),
            session=session,
            wait=self.wait,
        )

    async def from_model(self, given: Mapping[str, Json]) -> Done:
        """Call with a model's input; raises ``pydantic.ValidationError`` where it does not fit the signature."""
        checked = self.input.model_validate(given)
        call: Callable[..., Awaitable[Done]] = self
        return await call(**{name: getattr(checked, name) for name in self.input.model_fields})

    @property
    def tool(self) -> dict[str, Any]:
        """The tool definition on the model provider's wire."""
        schema = self.input.model_json_schema()
        schema.pop("title", None)
        return {
            "name": self.__name__,
            "description": inspect.cleandoc(self.__doc__ or f"The action {self.action}."),
            "input_schema": schema,
        }


def governed(
    action: str, *, resource: str, wait: float = 0.0
) -> Callable[[Callable[P, Awaitable[Arguments]]], Governed[P]]:
    """Declare that the function asks the gate for ``action`` on ``resource``; ``wait`` seconds for an approval."""
    return lambda body: Governed(body, action, resource, wait)


class _Texts(dict[str, str]):
    """Values as text for one part of a resource."""

    def __init__(self, values: Mapping[str, object]) -> None:
        super().__init__({name: str(value) for name, value in values.items()})


def _input_model(name: str, signature: inspect.Signature) -> type[BaseModel]:
    """A strict model of the parameters; a parameter without annotation takes any JSON value."""
    fields: dict[str, Any] = {
        parameter.name: (
            Any if parameter.annotation is parameter.empty else parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in signature.parameters.values()
    }
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
