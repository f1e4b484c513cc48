"""Whole programs: where their functions and classes are defined, and how they begin and end."""

from __future__ import annotations

import re
from pathlib import Path

from .programs import finish_program, run_program


def test_functions_and_classes_of_the_main_program_work(tmp_path: Path) -> None:
    text = """
        import asyncio, asyncray
        from dataclasses import dataclass

        @dataclass
        class Point:
            x: int
            y: int

            def mirrored(self):
                return Point(self.y, self.x)

        class Refused(Exception):
            def __init__(self, point, reason):
                super().__init__(f"{point} {reason}")
                self.reason = reason

        FACTOR = 2

        def scale(point):
            return Point(FACTOR * point.x, FACTOR * point.y)

        @asyncray.remote
        def work(point):
            return scale(point).mirrored()

        @asyncray.remote
        class Store:
            def __init__(self, point):
                self.point = point

            def get(self):
                return self.point

            def refuse(self):
                raise Refused(self.point, "is full")

        async def main():
            async with asyncray.init(num_cpus=2):
                point = await work.remote(Point(1, 2))
                assert type(point) is Point and point == Point(4, 2), point
                store = Store.remote(point)
                assert await store.get.remote() == point
                try:
                    await store.refuse.remote()
                except Refused as error:
                    assert error.reason == "is full"
                    print(error)

        if __name__ == "__main__":
            asyncio.run(main())
    """
    assert run_program(tmp_path, text) == "Point(x=4, y=2) is full\n"


def test_modules_beside_the_program_are_imported_by_workers(tmp_path: Path) -> None:
    text = """
        import os, sys
        import asyncray.sync as ray
        import beside

        sys.path.insert(0, os.path.join(os.path.dirname(__file__), "more"))
        import elsewhere

        with ray.init(num_cpus=2):
            assert ray.get(beside.double.remote(2)) == 4
            counter = beside.Counter.remote(beside.Start(5))
            assert ray.get(counter.next.remote()) == 6
            pid, module = ray.get(ray.remote(elsewhere.where).remote())
            assert pid != os.getpid()
            print(module)
    """
    beside = """
        import asyncray

        class Start:
            def __init__(self, number):
                self.number = number

        @asyncray.remote
        def double(number):
            return helper(number)

        def helper(number):
            return 2 * number

        @asyncray.remote
        class Counter:
            def __init__(self, start):
                assert isinstance(start, Start)
                self.number = start.number

            def next(self):
                self.number += 1
                return self.number
    """
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "elsewhere.py").write_text("import os\n\ndef where():\n    return os.getpid(), __file__\n")
    assert run_program(tmp_path, text, beside=beside) == f"{tmp_path}/more/elsewhere.py\n"


def test_what_is_typed_into_an_interpreter_or_a_notebook_works_and_can_be_redefined(tmp_path: Path) -> None:
    text = """
        cells = [
            "import asyncray.sync as ray; ray.init(num_cpus=2)",
            "offset = 1",
            "@ray.remote\\ndef shift(x): return x + offset",
            "print(ray.get(shift.remote(1)))",
            "offset = 10",
            "@ray.remote\\ndef shift(x): return x + offset",
            "print(ray.get(shift.remote(1)))",
            "class Thing:\\n    size = 3",
            "@ray.remote\\nclass Box:\\n    def thing(self): return Thing()",
            "box = Box.remote()",
            "print(ray.get(box.thing.remote()).size, type(ray.get(box.thing.remote())) is Thing)",
            "ray.shutdown()",
        ]
        namespace = {"__name__": "__main__"}
        for cell in cells:
            exec(compile(cell, "<cell>", "exec"), namespace)
    """
    assert run_program(tmp_path, text) == "2\n11\n3 True\n"


def test_functions_close_over_references_and_handles(tmp_path: Path) -> None:
    text = """
        import asyncio, asyncray

        async def main():
            async with asyncray.init(num_cpus=2):
                big = await asyncray.put(bytes(1_000_000))

                @asyncray.remote
                class Notes:
                    def __init__(self):
                        self.notes = []

                    def add(self, note):
                        self.notes.append(note)
                        return len(self.notes)

                notes = Notes.remote()

                @asyncray.remote
                async def work(name):
                    return len(await big) + await notes.add.remote(name)

                assert await work.remote("a") == 1000001
                del big, notes
                print(sorted(await asyncio.gather(*(work.remote(name) for name in "bcd"))))

        asyncio.run(main())
    """
    assert run_program(tmp_path, text) == "[1000002, 1000003, 1000004]\n"


def test_the_first_remote_call_on_a_loop_starts_a_cluster(tmp_path: Path) -> None:
    text = """
        import asyncio, asyncray

        @asyncray.remote
        def square(x):
            return x * x

        @asyncray.remote
        class Actor:
            def method(self):
                return "actor"

        async def main():
            assert not asyncray.is_initialized()
            assert await asyncio.gather(*(square.remote(i) for i in range(10))) == [i * i for i in range(10)]
            assert asyncray.is_initialized()
            assert await Actor.remote().method.remote() == "actor"
            await asyncray.shutdown()
            assert not asyncray.is_initialized()
            assert await square.remote(3) == 9  # and again
            await asyncray.shutdown()

        asyncio.run(main())
    """
    assert run_program(tmp_path, text) == ""


def test_the_first_remote_call_without_a_loop_starts_a_cluster(tmp_path: Path) -> None:
    text = """
        import asyncray.sync as ray

        @ray.remote
        def square(x):
            return x * x

        ref = square.remote(3)
        assert ray.is_initialized()
        print(ray.get(ref))
    """
    assert run_program(tmp_path, text) == "9\n"


def test_a_program_that_ends_without_shutdown_takes_its_cluster_along(tmp_path: Path) -> None:
    text = """
        import asyncio, asyncray

        async def main():
            await asyncray.init(num_cpus=1)
            print("over")

        asyncio.run(main())
    """
    assert run_program(tmp_path, text) == "over\n"


def test_a_program_that_fails_shows_the_remote_traceback(tmp_path: Path) -> None:
    text = """
        import asyncray.sync as ray

        @ray.remote
        def divide(x, y):
            return x / y

        with ray.init(num_cpus=1):
            ray.get(divide.remote(1, 0))
    """
    done = finish_program(tmp_path, text)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.search(r"Task divide \(pid \d+, node \S+\) raised:\n", done.stderr)
    assert done.stderr.count("    return x / y\n") == 1
    assert "ZeroDivisionError: division by zero" in done.stderr


def test_output_of_workers_appears_with_their_names_and_pids(tmp_path: Path) -> None:
    text = """
        import logging, sys
        import asyncray.sync as ray

        @ray.remote
        def whisper():
            print("from inside")

        @ray.remote
        def speak():
            print("one\\ntwo")
            print("three", end="")
            print(" four", flush=True)
            sys.stdout.buffer.write(b"into the log file only\\n")
            logging.getLogger("of.the.user").warning("a warning")
            print("a complaint", file=sys.stderr)
            print("unfinished", end="")

        @ray.remote
        def pass_on():
            ray.get(whisper.remote())
            print("passed on")

        @ray.remote
        class Speaker:
            def __init__(self):
                print("made")

            def speak(self):
                print("spoken")

            async def sing(self):
                print("sung")

        with ray.init(num_cpus=1):
            ray.get(speak.remote())
            ray.get(pass_on.remote())
            speaker = Speaker.remote()
            ray.get(speaker.speak.remote())
            ray.get(speaker.sing.remote())
    """
    done = finish_program(tmp_path, text)
    assert done.returncode == 0, done.stderr
    assert re.sub(r"pid=\d+", "pid=N", done.stdout).splitlines() == [
        "(speak pid=N) one",
        "(speak pid=N) two",
        "(speak pid=N) three four",
        "(speak pid=N) unfinished",
        "(whisper pid=N) from inside",
        "(pass_on pid=N) passed on",
        "(Speaker.__init__ pid=N) made",
        "(Speaker.speak pid=N) spoken",
        "(Speaker.sing pid=N) sung",
    ]
    assert re.fullmatch(r"\(speak pid=\d+\) a warning\n\(speak pid=\d+\) a complaint\n", done.stderr)


def test_the_last_that_a_nested_task_prints_is_not_lost(tmp_path: Path) -> None:
    text = """
        import asyncray.sync as ray

        @ray.remote
        def whisper(depth):
            if depth:
                ray.get(whisper.remote(depth - 1))
            else:
                print("from inside")

        with ray.init(num_cpus=1):
            ray.get(whisper.remote(2))
    """
    assert re.fullmatch(r"\(whisper pid=\d+\) from inside\n", run_program(tmp_path, text))


def test_output_of_workers_stays_away_when_it_is_not_wanted(tmp_path: Path) -> None:
    text = """
        import asyncray.sync as ray

        @ray.remote
        def speak():
            print("unheard")

        with ray.init(num_cpus=1, log_to_driver=False):
            ray.get(speak.remote())
            print("quiet")
    """
    assert run_program(tmp_path, text) == "quiet\n"
