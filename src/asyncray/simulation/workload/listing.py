"""Programs as people read them: a line for each step, with its key, and inner bodies indented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asyncray.simulation.workload.program import (
    Body,
    Call,
    Cancel,
    Concurrently,
    Constant,
    Create,
    Demand,
    Drop,
    Expression,
    Get,
    Item,
    Kill,
    Large,
    Listed,
    Program,
    Put,
    Raise,
    Sleep,
    Step,
    Submit,
    Wait,
)


def lines_of(program: Program) -> Iterator[str]:
    for number, driver in enumerate(program.drivers):
        yield f"driver {number}:"
        yield from _body(driver, "    ")


def _body(body: Body, indent: str) -> Iterator[str]:
    yield from _steps(body.steps, indent)
    if body.returns:
        yield f"{indent}return {_all(body.returns)}"


def _steps(steps: Sequence[Step], indent: str) -> Iterator[str]:
    for step in steps:
        yield f"{indent}{step.key}: {_step(step)}"
        match step:
            case Submit(body=body) | Call(body=Body() as body):
                yield from _body(body, f"{indent}    ")
            case Concurrently(branches=branches):
                for number, branch in enumerate(branches):
                    yield f"{indent}  branch {number}:"
                    yield from _steps(branch, f"{indent}    ")


def _step(step: Step) -> str:
    match step:
        case Submit():
            text = f"{_names(step.targets)} = {step.form} task {step.body.key}({_all(step.arguments)})"
            flags = _if(step.cancelled, "may be cancelled") + _if(step.max_retries != 3, f"{step.max_retries} retries")
            return text + flags + _demand(step.demand)
        case Put():
            return f"v{step.target} = put {_text(step.value)}"
        case Get():
            limit = "" if step.timeout is None else f" within {step.timeout} s"
            flags = _if(step.deep, "deep") + _if(not step.catch, "raises")
            return f"{_names(step.targets)} = {step.way} {_all(step.sources)}{limit}{flags}"
        case Wait():
            limit = "" if step.timeout is None else f" for {step.timeout} s"
            return f"wait for {step.num_returns} of {_all(step.sources)}{limit}"
        case Drop():
            return f"drop {_names(step.variables)}"
        case Create():
            text = f"v{step.target} = {step.form} actor({_text(step.start)}, {_text(step.kept)})"
            return text + _if(step.fails, "fails") + _if(step.killed, "may be killed") + _demand(step.demand)
        case Call():
            body = "" if step.body is None else f" {step.body.key}"
            slot = f" slot {step.slot}" if step.method in ("keep", "give") else ""
            text = f"{_names(step.targets)} = {_text(step.actor)}.{step.method}{body}{slot}({_all(step.arguments)})"
            return text + _if(step.remove, "removes") + _if(step.cancelled, "may be cancelled")
        case Kill():
            return f"kill {_text(step.actor)}"
        case Cancel():
            return f"cancel v{step.variable} ({step.what})"
        case Sleep():
            return f"sleep {step.seconds} s"
        case Raise():
            return "raise"
        case Concurrently():
            return "concurrently"


def _demand(demand: Demand) -> str:
    cpus = "" if demand.num_cpus is None else f"{demand.num_cpus:g} CPUs"
    tokens = f"{demand.tokens:g} tokens" if demand.tokens else ""
    seats = f"{demand.seats:g} seats" if demand.seats else ""
    return "".join(_if(bool(text), text) for text in (cpus, tokens, seats))


def _text(expression: Expression) -> str:
    match expression:
        case Constant(number):
            return str(number)
        case Large(number):
            return f"large {number}"
        case Item(variable, path):
            return f"v{variable}" + "".join(f"[{index}]" for index in path)
        case Listed(items):
            return f"[{_all(items)}]"
        case _:
            return "journal"


def _all(expressions: Sequence[Expression]) -> str:
    return ", ".join(map(_text, expressions))


def _names(variables: Sequence[int]) -> str:
    return ", ".join(f"v{variable}" for variable in variables) or "nothing"


def _if(condition: bool, text: str) -> str:
    return f" ({text})" if condition else ""
