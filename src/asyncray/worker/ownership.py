"""Reference counting across processes: which objects may be freed, and when.

A state machine without I/O. Its inputs are method calls; each appends to `Ownership.effects` what the runtime has
to do next, in order. Messages to one process must arrive in the order in which they were sent, results of tasks
included; the end of a connection is told by `process_lost`.

Why nothing is freed while a live process can reach it (processes that die excepted):

Say that a holder H is *known* for an object x of owner O when H is O, or O has H among x's borrowers. A value is
freed only when O has no count on it, so a known holder is safe until it sends RELEASE, which it does only when it has
no count left. It remains to show that whoever hands x to H keeps a known holder until H itself is known, or has let go:

1. *Task argument.* The caller C has `tasks` on x (or on an object that contains x) until the reply arrives. The
   worker W replies only when each borrow that it made from the arguments and still holds is acknowledged. If C is
   the owner, BORROW travels before the reply on the same connection, and there is nothing to wait for.
2. *Inside a value.* The owner P of the outer object has `containers` on x while the outer lives. A borrower that
   deserialises x from it keeps the outer until x is acknowledged. If outer and x have the same owner, which has
   acknowledged the outer, then BORROW of x travels before any RELEASE of the outer, and nothing need be kept.
3. *Inside a result.* The worker W holds x until CONFIRM. The caller confirms when its borrow of x is acknowledged,
   or when it has let go of it; if W is the owner, BORROW travels before CONFIRM.
4. *Letting go early.* A borrower that drops x with its BORROW unacknowledged settles its sources at once. All that
   it handed on or deserialised from x has counts on x, so that it has none means that nobody depends on it.

By induction over the hand-overs, each step starts from a known holder or from one that is itself protected by an
earlier step: the reply of 1, the outer of 2 and the confirmation of 3 wait for *every* source, and a second source
for a borrow not yet acknowledged waits as well, so that the loss of the first one's process does no harm.
When the process that handed x on dies before O has heard from H, O may have freed x: H is told so (`Gone`).
Cycles of objects that contain each other are not collected while their owners live.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from asyncray import messages
from asyncray.messages import Address
from asyncray.worker.effects import Effect, Forgotten, Free, Gone, OwnerDied, Released, ReplyReady, Send
from asyncray.worker.reference import Confirmation, Execution, Reference, ReferenceTable
from asyncray.worker.ties import Ties, UnconfirmedResults

_LOST_REMEMBERED = 10_000
"""How many dead processes to remember: long enough to outlive what they sent before they died."""


class Ownership:
    """The references that one process knows. Not thread-safe: with several threads, a lock around each call."""

    def __init__(self, process_id: bytes) -> None:
        self.process_id = process_id
        self.references = ReferenceTable(process_id)
        """Without the dead ones (owner died, gone), though `ObjectRef`s may still point to them."""
        self.effects: list[Effect] = []
        self.ties: dict[bytes, Ties] = {}
        self._lost: dict[bytes, None] = {}
        self._sequence = 0

    def take_effects(self) -> list[Effect]:
        """What there is to do since the last call, in order."""
        effects, self.effects = self.effects, []
        return effects

    # ---- references of this process

    def own(self, id: bytes) -> Reference:
        """A new object of this process, with one local reference.

        An id that is known already (its task runs a second time in this process) gives the existing record.
        """
        reference = Reference(id)
        if self.references.setdefault(id, reference) is not reference:
            known = self.owned(id)
            if known is None:
                self.references.add(reference)
            else:
                known.local += 1
                return known
        return reference

    def owned(self, id: bytes) -> Reference | None:
        """The record of an object of this process, if it still has one."""
        return self.references.find(id, self.process_id)

    def borrow(self, id: bytes, owner: Address, source: Reference | Execution | None = None) -> Reference:
        """A local reference to an object of any process: what deserialising one does.

        `source` is where it was found: the record of the object whose value contains it, or the task whose
        arguments do. It is kept until the owner knows of this borrower.
        """
        owner_id = owner[0]
        reference = self.references.find(id, owner_id)
        if reference is not None:
            reference.local += 1
            if reference.sources is not None:
                self._wait(reference, source)
            elif not reference.sequence and reference.owner is not None:
                self._announce(reference, source)
            return reference
        if owner_id == self.process_id:
            reference = Reference(id)
            self.effects.append(Gone(reference))
            return reference
        reference = Reference(id, owner)
        self.references.add(reference)
        self._announce(reference, source)
        return reference

    def hold(self, reference: Reference) -> None:
        """One more local reference."""
        reference.local += 1

    def drop(self, reference: Reference) -> None:
        """One local reference less."""
        local = reference.local = reference.local - 1
        if local or reference.tasks or reference.containers or reference.borrowers:
            return
        if (
            reference.owner is None
            and reference.contains is None
            and not (reference.lineage or self.references.shadowed)
            and self.references.get(reference.id) is reference
        ):  # `_discard` in short, 30 % quicker: most results are dropped once they are read
            del self.references[reference.id]
            self.effects.append(Free(reference))
        else:
            self._discard([reference])

    def hold_task(self, reference: Reference) -> None:
        """A task that takes the object is submitted: keep it until the reply, or until the worker is lost."""
        reference.tasks += 1
        if reference.owner is not None and not reference.sequence and self.references.knows(reference):
            self._announce(reference, None)  # only lineage kept the record, and the task runs again

    def release_task(self, reference: Reference) -> None:
        reference.tasks -= 1
        if not reference.in_use:
            self._discard([reference])

    def hold_lineage(self, reference: Reference) -> None:
        """The specification of a task that takes the object is kept, to run it again if need be."""
        reference.lineage += 1

    def release_lineage(self, reference: Reference) -> None:
        reference.lineage -= 1
        if not (reference.lineage or reference.in_use) and self.references.remove(reference):
            self.effects.append(Forgotten(reference))

    def put_contains(self, outer: Reference, inners: Iterable[Reference]) -> None:
        """The value of `outer`, owned here, contains these references: they live as long as it does."""
        added = []
        for inner in inners:
            if inner is not outer:
                inner.containers += 1
                added.append(inner)
        if added:
            outer.contains = (*(outer.contains or ()), *added)

    # ---- tasks that run here

    def reply_ready(self, execution: Execution) -> bool:
        """Whether the reply may be sent now. If not, `ReplyReady` will tell."""
        if execution.pending:
            execution.replying = True
            return False
        if self.effects:  # a BORROW among them must not be overtaken by the reply
            self.effects.append(ReplyReady(execution))
            return False
        return True

    def hold_result(self, task_id: bytes, caller: bytes, inners: Sequence[Reference]) -> None:
        """The result of the task contains `inners`: keep them until the process `caller` confirms. Before replying.

        An item of a streaming task may give its object id for the task id.
        """
        if not inners or caller in self._lost:
            return
        for inner in inners:
            inner.local += 1
        result = self._ties(caller).results.setdefault(task_id, UnconfirmedResults())
        result.outstanding += 1
        result.inners.extend(inners)

    # ---- results that arrive here

    def result_contains(
        self,
        task_id: bytes,
        worker: Address,
        returns: Iterable[tuple[Reference | None, Sequence[Sequence[Any]] | None]],
    ) -> None:
        """A result of `worker` may contain references: of each return, its record and its *contained* field.

        Each result, wanted or not, is told here once, so that the worker gets one CONFIRM for each that contains
        references; the record may be None, or freed meanwhile. To be called before `release_task` of the arguments,
        so that what is returned as it came is not borrowed anew.
        """
        confirmation = Confirmation(task_id, worker)
        confirmation.pending = 1
        owed = False
        for outer, contained in returns:
            owed = owed or bool(contained)
            if contained and outer is not None and outer.in_use:
                # The values of an earlier run may be on their way to borrowers, so what they contain stays as well.
                inners = [self.borrow(id, owner, confirmation) for id, owner in contained]
                self.put_contains(outer, inners)
                for inner in inners:
                    self.drop(inner)
        confirmation.pending -= 1
        if owed and not confirmation.pending:
            self._confirm(confirmation)

    # ---- messages

    def on_borrow(self, sender: Address, id: bytes, sequence: int) -> None:
        process_id = sender[0]
        if process_id in self._lost:
            return
        reference = self.owned(id)
        if reference is not None:
            if reference.borrowers is None:
                reference.borrowers = {process_id}
            else:
                reference.borrowers.add(process_id)
            self._ties(process_id).lent[reference] = None
        self.effects.append(Send(sender, (messages.BORROW_ACK, id, sequence, reference is not None)))

    def on_borrow_ack(self, sender: Address, id: bytes, sequence: int, alive: bool) -> None:
        reference = self.references.find(id, sender[0])
        if reference is None or reference.sequence != sequence or reference.sources is None:
            return  # for a borrow that was released meanwhile
        unused: list[Reference] = []
        self._settle(reference, unused)
        if not alive:
            self._end_borrow(reference)
            self.references.remove(reference)
            self.effects.append(Gone(reference))
        self._discard(unused)

    def on_release(self, sender: Address, id: bytes) -> None:
        process_id = sender[0]
        reference = self.owned(id)
        if reference is None or reference.borrowers is None or process_id not in reference.borrowers:
            return
        reference.borrowers.remove(process_id)
        ties = self.ties[process_id]
        del ties.lent[reference]
        self._forget_idle(process_id, ties)
        if not reference.in_use:
            self._discard([reference])

    def on_confirm(self, sender: Address, task_id: bytes) -> None:
        ties = self.ties.get(sender[0])
        if ties is None or task_id not in ties.results:
            return
        result = ties.results[task_id]
        result.outstanding -= 1
        if result.outstanding:
            return
        del ties.results[task_id]
        self._forget_idle(sender[0], ties)
        for inner in result.inners:
            self.drop(inner)

    # ---- processes

    def process_lost(self, process_id: bytes) -> None:
        """The connection to the process has ended, or cannot be made, or its death was reported.

        From now on nothing of it is heeded. When the same process connects again, tell the end of the old connection
        first, then `process_connected`.
        """
        self._lost[process_id] = None
        if len(self._lost) > _LOST_REMEMBERED:
            del self._lost[next(iter(self._lost))]
        ties = self.ties.pop(process_id, None)
        if ties is None:
            return
        unused: list[Reference] = []
        for reference in ties.borrowed:
            reference.sequence = 0
            self.references.remove(reference)
            self._settle(reference, unused)
            self.effects.append(OwnerDied(reference))
        for reference in ties.lent:
            assert reference.borrowers is not None
            reference.borrowers.discard(process_id)
            if not reference.in_use:
                unused.append(reference)
        self._discard(unused)
        for result in ties.results.values():
            for inner in result.inners:
                self.drop(inner)

    def lends(self) -> bool:
        """Whether other processes have borrowed objects of this one, or are about to confirm that they have."""
        return any(ties.lent or ties.results for ties in self.ties.values())

    def process_connected(self, process_id: bytes) -> None:
        """A new connection with the process: heed it again if it was thought lost."""
        self._lost.pop(process_id, None)

    # ---- within

    def _ties(self, process_id: bytes) -> Ties:
        ties = self.ties.get(process_id)
        if ties is None:
            ties = self.ties[process_id] = Ties()
        return ties

    def _forget_idle(self, process_id: bytes, ties: Ties) -> None:
        if not (ties.borrowed or ties.lent or ties.results):
            del self.ties[process_id]

    def _announce(self, reference: Reference, source: Reference | Execution | None) -> None:
        """Tell the owner that this process borrows the object."""
        owner = reference.owner
        assert owner is not None
        if owner[0] in self._lost:
            self.references.remove(reference)
            self.effects.append(OwnerDied(reference))
            return
        ties = self._ties(owner[0])
        if ties.address is None:
            ties.address = owner
        reference.owner = ties.address  # one list per process, instead of one per reference
        ties.borrowed[reference] = None
        self._sequence += 1
        reference.sequence = self._sequence
        reference.sources = []
        self.effects.append(Send(ties.address, (messages.BORROW, reference.id, self._sequence)))
        self._wait(reference, source)

    def _wait(self, reference: Reference, source: Reference | Execution | None) -> None:
        """Keep the source until the owner has acknowledged, where the order of messages does not do it."""
        assert reference.owner is not None and reference.sources is not None
        owner_id = reference.owner[0]
        if isinstance(source, Reference):
            if source.owner is not None and source.owner[0] == owner_id and source.sequence and source.sources is None:
                return
            source.local += 1
        elif source is None or source.process_id == owner_id:
            return
        else:
            source.pending += 1
        reference.sources.append(source)

    def _settle(self, reference: Reference, unused: list[Reference]) -> None:
        """The borrow is acknowledged, given up or lost: let go of its sources; records to discard go to `unused`."""
        sources, reference.sources = reference.sources, None
        for source in sources or ():
            if isinstance(source, Reference):
                source.local -= 1
                if not source.in_use:
                    unused.append(source)
            else:
                self._settle_pending(source)

    def _settle_pending(self, source: Execution) -> None:
        source.pending -= 1
        if source.pending:
            return
        if isinstance(source, Confirmation):
            self._confirm(source)
        elif source.replying:
            source.replying = False
            self.effects.append(ReplyReady(source))

    def _confirm(self, confirmation: Confirmation) -> None:
        if confirmation.process_id not in self._lost:
            self.effects.append(Send(confirmation.worker, (messages.CONFIRM, confirmation.task_id)))

    def _end_borrow(self, reference: Reference) -> None:
        assert reference.owner is not None
        reference.sequence = 0
        process_id = reference.owner[0]
        ties = self.ties[process_id]
        del ties.borrowed[reference]
        self._forget_idle(process_id, ties)

    def _discard(self, unused: list[Reference]) -> None:
        """Records without a count: free or release them, and what was kept only by them. Chains may be long."""
        while unused:
            reference = unused.pop()
            if reference.owner is None:
                known = self.references.knows(reference) if reference.lineage else self.references.remove(reference)
                if not known:
                    continue  # it was gone when it was deserialised: there is no value
                self.effects.append(Free(reference, not reference.lineage))
                if reference.contains is not None:
                    inners, reference.contains = reference.contains, None
                    for inner in inners:
                        inner.containers -= 1
                        if not inner.in_use:
                            unused.append(inner)
            else:
                if reference.sequence:
                    self.effects.append(Send(reference.owner, (messages.RELEASE, reference.id)))
                    self._end_borrow(reference)
                    self._settle(reference, unused)
                if not reference.lineage:
                    self.references.remove(reference)
                self.effects.append(Released(reference, not reference.lineage))
