"""Members of milena, Java, librdkafka and franz-go in one group on Kafka, by each strategy: they join one after another, each leaves
and comes back so that each leads once, and one is killed, while records are produced.

    strategies.py BOOTSTRAP BUILT FETCHED STRATEGY...

Checked: one owner of a partition at a time, and every record processed, none skipped. With a cooperative strategy, too, that our member
gets records of the partitions that it keeps between sending JoinGroup and the answer to SyncGroup, in every rebalance that takes long
enough. groups.sh builds the programs and runs this."""

import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = range(6)
PATIENCE = 60  # seconds
# Lines of two processes that are printed this close to each other may be read in either order.
JITTER = 0.25
# Each partition gets a record so often.
PERIOD = 0.01
# A rebalance that is shorter tells nothing if no record comes in it: it is under way for a while, and two cores have much to do.
ENOUGH = 0.25

bootstrap, built, fetched, *strategies = sys.argv[1:]
here = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = {
    "milena": [f"{built}/group-member"],
    "java": ["java", "-XX:TieredStopAtLevel=1", "-cp", ":".join(glob.glob(f"{fetched}/java/*.jar")), f"{here}/groups/GroupMember.java"],
    "librdkafka": [sys.executable, f"{here}/groups/confluent.py"],
    "franz": [f"{fetched}/franz"],
}


# What their member ids begin with.
NAMES = {"milena": "milena", "consumer": "java", "rdkafka": "librdkafka", "kgo": "franz"}
LEADER = re.compile(r"JoinGroup response: .*LeaderId ([a-z]+)")


class Failure(Exception):
    pass


class Rebalance:
    """From our JoinGroup to the answer to our SyncGroup, and what came meanwhile of the partitions that stayed."""

    def __init__(self, began, kept):
        self.began, self.ended, self.kept, self.records, self.settled = began, None, set(kept), [], False

    def length(self):
        return self.ended - self.began

    def got(self):
        return [at for at, partition in self.records if partition in self.kept and self.began < at < self.ended]

    def longest_gap(self, deliveries):
        """The longest time without a record of a partition that stayed that overlaps with it."""
        times = [at for at, partition in deliveries if partition in self.kept]
        return max((b - a for a, b in zip(times, times[1:]) if a < self.ended and b > self.began), default=0)


def rebalances(said):
    """What a member of ours has said, as the rebalances in which it kept partitions, and all deliveries."""
    found, deliveries, owned = [], [], set()
    for word, rest in said:
        last = found[-1] if found else None
        if word == "join":
            if not last or last.ended:  # it may have to ask twice
                found.append(Rebalance(int(rest[0]) / 1e6, owned))
        elif word == "sync":
            if last and not last.ended:
                last.ended = int(rest[0]) / 1e6
        elif word == "assigned":
            owned = {int(p) for p in rest}
            if last and last.ended:
                last.settled = True
        elif word in ("revoked", "lost"):
            # Cooperative members hear after SyncGroup what does not stay, and then what is assigned.
            gone = {int(p) for p in rest}
            owned = owned - gone
            if last and not last.settled:
                last.kept -= gone
        elif word == "record":
            delivery = (int(rest[3]) / 1e6, int(rest[0]))
            deliveries.append(delivery)
            if last and not last.ended:
                last.records.append(delivery)
    return [rebalance for rebalance in found if rebalance.kept and rebalance.ended], deliveries


class Member:
    """One process, and what it has said: when it had which partitions, and what it processed."""

    def __init__(self, kind, group, topic, strategy, log):
        self.kind, self.owned, self.tenures, self.records, self.began = kind, set(), [], [], {}
        self.said = []
        self.log = open(f"{log}-{kind}-{time.monotonic_ns()}.log", "w")
        command = [*PROGRAMS[kind], bootstrap, group, topic, strategy]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        for line in self.process.stdout:
            word, *rest = line.split()
            if self.kind == "milena":
                self.said.append((word, rest))
            if word == "record":
                self.records.append((int(rest[0]), int(rest[1])))
            elif word == "assigned":
                self.own({int(p) for p in rest})
            elif word in ("revoked", "lost"):
                self.own(self.owned - {int(p) for p in rest})
        self.own(set())

    def own(self, partitions):
        now = time.monotonic()
        for partition in self.owned - partitions:
            self.tenures.append((partition, self.began.pop(partition), now, self.kind))
        for partition in partitions - self.owned:
            self.began[partition] = now
        self.owned = partitions

    def end(self, how):
        self.process.send_signal(how)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure(f"{self.kind} did not leave")
        self.thread.join()
        if how == signal.SIGTERM and status != 0:
            raise Failure(f"{self.kind} ended with status {status}, see {self.log.name}")


class Run:
    def __init__(self, strategy, kinds, log):
        self.strategy, self.log, self.members, self.gone = strategy, log, {}, []
        self.name = f"{strategy}-{time.time_ns()}"
        topic = NewTopic(self.name, len(PARTITIONS), 3)
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([topic])[self.name].result(PATIENCE)
        self.written, self.failed, self.stop = 0, [], threading.Event()
        self.producing = threading.Thread(target=self.produce)
        self.kinds = kinds

    def produce(self):
        producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})

        def delivered(error, _message):
            if error:
                self.failed.append(str(error))

        while not self.stop.wait(PERIOD):
            for partition in PARTITIONS:
                producer.produce(self.name, f"{self.written}", partition=partition, on_delivery=delivered)
                self.written += 1
            producer.poll(0)
        producer.flush(PATIENCE)

    def start(self, kind):
        self.members[kind] = Member(kind, self.name, self.name, self.strategy, self.log)

    def end(self, kind, how):
        member = self.members.pop(kind)
        self.gone.append(member)
        member.end(how)

    def all(self):
        return [*self.gone, *self.members.values()]

    def wait(self, what, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            for member in self.members.values():
                if member.process.poll() is not None:
                    raise Failure(f"{member.kind} ended by itself, see {member.log.name}")
            if time.monotonic() > deadline:
                owned = {kind: sorted(member.owned) for kind, member in self.members.items()}
                raise Failure(f"waited {PATIENCE} s in vain until {what}: {owned}")
            time.sleep(0.02)

    def shared(self):
        owned = [p for member in self.members.values() for p in member.owned]
        return sorted(owned) == list(PARTITIONS) and all(member.owned for member in self.members.values())

    def everything(self):
        processed = {record for member in self.all() for record in list(member.records)}
        return processed >= self.in_log

    def run(self):
        self.producing.start()
        try:
            for kind in self.kinds:
                self.start(kind)
                self.wait(f"{kind} has joined", self.shared)
            # The first of them leads; when it leaves another does.
            for kind in self.kinds:
                self.end(kind, signal.SIGTERM)
                self.wait(f"the others have all without {kind}", self.shared)
                self.start(kind)
                self.wait(f"{kind} is back", self.shared)
            victim = self.kinds[0]
            enough = len(self.members[victim].records) + 100
            self.wait(f"{victim} has processed some", lambda: len(self.members[victim].records) >= enough)
            self.end(victim, signal.SIGKILL)
            self.wait(f"the others have all after {victim} was killed", self.shared)
        finally:
            self.stop.set()
            self.producing.join()
        if self.failed:
            raise Failure(f"{len(self.failed)} records were not written: {self.failed[0]}")
        self.in_log = {(p, offset) for p in PARTITIONS for offset in range(self.ends()[p])}
        if len(self.in_log) != self.written:
            raise Failure(f"{self.written} records were written, the log has {len(self.in_log)}")
        self.wait("every record is processed", self.everything)
        for kind in list(self.members):
            self.end(kind, signal.SIGTERM)
        self.one_owner()
        if self.strategy.startswith("cooperative"):
            self.reads_on()
        processed = sum(len(member.records) for member in self.gone)
        print(
            f"ok: {self.strategy}: {', '.join(self.kinds)}: {self.written} records, {processed - self.written} of them processed again, "
            f"{sum(len(member.tenures) for member in self.gone)} tenures, one owner at a time; led by {sorted(self.leaders())}",
            flush=True,
        )

    def leaders(self):
        """Who has led while a member by librdkafka was there, which tells."""
        logs = [open(member.log.name).read() for member in self.gone if member.kind == "librdkafka"]
        return {NAMES.get(name, name) for log in logs for name in LEADER.findall(log)}

    def reads_on(self):
        """Cooperative members of ours get records of what they keep while the group rebalances."""
        members = [rebalances(member.said) for member in self.gone if member.kind == "milena"]
        all = [rebalance for found, _ in members for rebalance in found]
        silent = [rebalance for rebalance in all if not rebalance.got()]
        long = [rebalance.length() for rebalance in silent if rebalance.length() >= ENOUGH]
        if long:
            raise Failure(f"no record of the partitions that stayed came between JoinGroup and SyncGroup, for {max(long):.3f} s")
        if len(silent) * 2 >= len(all):
            raise Failure(f"{len(silent)} of {len(all)} rebalances were too short to tell")
        gap = max(rebalance.longest_gap(deliveries) for found, deliveries in members for rebalance in found)
        lengths = sorted(rebalance.length() for rebalance in all)
        print(
            f"ok: {self.strategy}: in {len(all) - len(silent)} of {len(all)} rebalances our member got records of what it kept between "
            f"JoinGroup and SyncGroup ({lengths[0]:.3f} to {lengths[-1]:.3f} s), {len(silent)} were too short to tell; the longest gap: "
            f"{gap:.3f} s",
            flush=True,
        )

    def ends(self):
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"ends-{self.name}"})
        try:
            return {p: consumer.get_watermark_offsets(TopicPartition(self.name, p), timeout=PATIENCE)[1] for p in PARTITIONS}
        finally:
            consumer.close()

    def one_owner(self):
        tenures = sorted(tenure for member in self.gone for tenure in member.tenures)
        for (partition, _, end, owner), (next_partition, begin, _, next_owner) in zip(tenures, tenures[1:]):
            if partition == next_partition and begin < end - JITTER:
                raise Failure(f"{owner} and {next_owner} both had partition {partition} for {end - begin:.2f} s")


def main():
    # Every kind leads: they lead in the order in which they came.
    orders = [["milena", "java", "librdkafka", "franz"], ["franz", "librdkafka", "java", "milena"], ["java", "milena", "franz", "librdkafka"]]
    leaders = set()
    for number, strategy in enumerate(strategies):
        started = time.monotonic()
        # librdkafka has no sticky assignor.
        kinds = [kind for kind in orders[number % len(orders)] if (kind, strategy) != ("librdkafka", "sticky")]
        run = Run(strategy, kinds, f"{fetched}/{strategy}")
        try:
            run.run()
        except Failure as failure:
            print(f"{strategy}: {failure}", file=sys.stderr)
            return 1
        finally:
            for member in run.members.values():
                member.process.kill()
        leaders |= run.leaders()
        print(f"    {time.monotonic() - started:.0f} s", flush=True)
    # Who leads after the first is the coordinator's choice; the first ones of three strategies are sure.
    if len(strategies) > 2 and len(leaders) < 3:
        print(f"only {sorted(leaders)} have led", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
