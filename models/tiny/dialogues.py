"""Writes the dialogues that the tiny models learn from, all from one seed.

The talk_*.txt files hold topics::

    = 3 name            the topic's weight and name
    ? <a|b> question    one way to ask; <a|b> is a choice, <slot> a value shared with the answer
    ! answer            one way to answer; lines that begin with two spaces continue it

Topics that must compute their answer (sums, names to remember, capitals) are functions here.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from . import words

Message = tuple[str, str]  # role, content
Exchange = list[tuple[str, str]]  # question, answer; some topics need two turns

HERE = Path(__file__).parent
DEFAULT_SYSTEM = "You are edgeinfer-tiny, a small and friendly assistant."

CHOICE = re.compile(r"<([^<>\n]*\|[^<>\n]*)>")
SLOT = re.compile(r"<([a-z]+)>")
LEADS = ("please ", "hey, ", "can you help me: ", "quick question: ", "ok, ", "and ", "so ")
QUESTION_STARTS = (
    "how", "what", "who", "why", "when", "where", "which", "is", "are", "do", "does", "can", "could", "will",
)  # fmt: skip


@dataclass(frozen=True)
class Topic:
    """Ways to ask one thing and ways to answer it."""

    name: str
    weight: float
    asks: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


def read_topics(path: Path) -> list[Topic]:
    """All topics of one talk file."""
    topics: list[Topic] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("= "):
            _, weight, name = line.split()
            topics.append(Topic(name, float(weight)))
        elif line.startswith("? "):
            topics[-1].asks.append(line[2:])
        elif line.startswith("! "):
            topics[-1].answers.append(line[2:])
        elif topics and topics[-1].answers and (line.startswith("  ") or not line):
            topics[-1].answers[-1] += "\n" + line[2:]
    return [Topic(t.name, t.weight, t.asks, [a.rstrip() for a in t.answers]) for t in topics]


class Writer:
    """Draws dialogues; everything depends on the seed alone."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.draws: list[tuple[float, Callable[[], Exchange]]] = [
            (topic.weight, partial(self.from_topic, topic))
            for name in ("talk_edgeinfer.txt", "talk_everyday.txt")
            for topic in read_topics(HERE / name)
        ]
        self.draws += [
            (14, self.arithmetic),
            (8, self.name),
            (5, self.capital),
            (6, self.lookup),
            (4, self.count),
            (4, self.repeat),
            (3, self.after),
        ]
        self.weights = [weight for weight, _ in self.draws]

    def slots(self) -> dict[str, str]:
        """Fresh values for all slots."""
        rng = self.rng
        family = rng.choice(list(words.FAMILIES))
        model = f"{family}:{rng.choice(words.FAMILIES[family])}"
        quant = rng.choice(list(words.QUANT_BITS))
        stem = [f"{family}-{quant}", "model", rng.choice(words.WORDS), family]
        return {
            "model": model,
            "quant": quant,
            "bits": words.QUANT_BITS[quant],
            "file": rng.choice(stem) + ".gguf",
            "howdoi": rng.choice(words.HOWDOI),
            "name": rng.choice(words.NAMES),
            "animal": rng.choice(words.ANIMALS),
            "place": rng.choice(words.PLACES),
            "thing": rng.choice(words.THINGS),
            "word": rng.choice(words.WORDS),
            "unknown": rng.choice(words.UNKNOWN),
            "year": str(rng.randint(1200, 2026)),
            "big": str(rng.randint(100, 99999)),
            "n": str(rng.randint(0, 99)),
            "country": rng.choice(list(words.CAPITALS)),
            "port": str(rng.choice([8000, 8081, 9000, 5000, 3000, 1234])),
        }

    def fill(self, pattern: str, slots: dict[str, str]) -> str:
        """The pattern with its choices drawn and its slots filled."""
        while CHOICE.search(pattern):
            pattern = CHOICE.sub(lambda m: self.rng.choice(m[1].split("|")), pattern)
        return SLOT.sub(lambda m: slots[m[1]], pattern)

    def ask(self, pattern: str, slots: dict[str, str] | None = None) -> str:
        """A question as people type it: politeness, typing errors, capitals and marks vary."""
        rng, text = self.rng, self.fill(pattern, slots or {})
        if rng.random() < 0.10:
            text = rng.choice(LEADS) + text
        if rng.random() < 0.05 and len(text) > 12:  # two letters swapped, or one lost
            i = rng.randrange(2, len(text) - 2)
            text = text[:i] + rng.choice([text[i + 1] + text[i] + text[i + 2 :], text[i + 1 :]])
        if rng.random() < 0.65:
            text = text[0].upper() + text[1:]
        elif rng.random() < 0.3:
            text = text.lower() if ":" not in text and ".gguf" not in text else text
        if rng.random() < 0.7 and text[-1] not in "?!.`":
            text += "?" if text.lower().startswith(QUESTION_STARTS) else rng.choice([".", ".", "", "!"])
        return text

    def from_topic(self, topic: Topic) -> Exchange:
        """One way to ask and one way to answer, about the same model, file or name."""
        slots = self.slots()
        ask = self.ask(self.rng.choice(topic.asks), slots)
        return [(ask, self.fill(self.rng.choice(topic.answers), slots))]

    def arithmetic(self) -> Exchange:
        """Sums of single digits."""
        a, b = self.rng.randint(0, 10), self.rng.randint(0, 10)
        sign, word = self.rng.choice([("+", "plus"), ("-", "minus"), ("*", "times"), ("+", "and")])
        if sign == "-" and b > a:
            a, b = b, a
        value = {"+": a + b, "-": a - b, "*": a * b}[sign]
        signs, spoken = f"{a} {sign} {b}", f"{a} {word} {b}"
        ask = self.rng.choice([
            f"<what is|what's|how much is|compute|> {signs}",
            f"<what is|how much is|> {spoken}",
            f"{a}{sign}{b}<|=>",
        ])  # fmt: skip
        return [(self.ask(ask).strip(), f"{signs} = {value}")]

    def name(self) -> Exchange:
        """Somebody says a name, and asks for it later; or asks without having said it."""
        rng, name = self.rng, self.rng.choice(words.NAMES)
        ask = self.ask(
            "<what is my name|what's my name|who am I|do you know my name|do you remember my name>"
        )
        if rng.random() < 0.15:
            return [(ask, "I don't know your name. What is it?")]
        told = self.fill("<my name is|I am|I'm|hi, I am|hello, my name is|call me> " + name, {})
        told = (told[0].upper() + told[1:] if rng.random() < 0.7 else told) + rng.choice(["", ".", "!"])
        return [(told, f"Nice to meet you, {name}!"), (ask, f"Your name is {name}.")]

    def capital(self) -> Exchange:
        """A country's capital, or a capital's country."""
        country, city = self.rng.choice(list(words.CAPITALS.items()))
        if self.rng.random() < 0.25:
            return [(self.ask(f"<where is|in which country is> {city}"), f"{city} is in {country}.")]
        lead = "<what is the capital of|capital of|name the capital of|which city is the capital of>"
        return [(self.ask(f"{lead} {country}"), f"The capital of {country} is {city}.")]

    def lookup(self) -> Exchange:
        """Opposites, colours and animal sounds."""
        rng = self.rng
        word, other = rng.choice(list(words.OPPOSITES.items()))
        thing, colour = rng.choice(list(words.COLOURS.items()))
        animal, sound = rng.choice(list(words.SOUNDS.items()))
        coloured = f"{thing[0].upper()}{thing[1:]} is {colour}."
        ask, answer = rng.choice([
            (f"what is the opposite of {word}", f"The opposite of {word} is {other}."),
            (f"<what colour is|what color is|which colour has> {thing}", coloured),
            (f"<what does a {animal} say|what sound does a {animal} make>", f"A {animal} says {sound}."),
        ])  # fmt: skip
        return [(self.ask(ask), answer)]

    def count(self) -> Exchange:
        """Count up, mostly from one."""
        first, last = self.rng.choice([1, 1, 1, self.rng.randint(2, 5)]), self.rng.randint(3, 12)
        last = max(last, first + 2)
        ask = f"<count to {last}|can you count to {last}|count up to {last}>"
        if first > 1:
            ask = f"count from {first} to {last}"
        return [(self.ask(ask), ", ".join(map(str, range(first, last + 1))))]

    def repeat(self) -> Exchange:
        """Say the words that were given."""
        said = " ".join(self.rng.sample(words.WORDS, self.rng.choice([1, 1, 2, 3])))
        lead = self.rng.choice(["Say {}", "say {}", "Repeat: {}", "Say {}.", "Repeat after me: {}"])
        return [(lead.format(said), said)]

    def after(self) -> Exchange:
        """The neighbour in a well-known row."""
        rows = [(words.DAYS, "day"), (words.MONTHS, "month"), (words.DIGITS, "number")]
        row, kind = self.rng.choice(rows)
        i = self.rng.randrange(len(row) - 1)
        one, two = row[i], row[i + 1]
        if self.rng.random() < 0.5:
            return [(self.ask(f"<which|what> {kind} comes after {one}"), f"After {one} comes {two}.")]
        return [(self.ask(f"<which|what> {kind} comes before {two}"), f"Before {two} comes {one}.")]

    def exchanges(self) -> Exchange:
        """The questions and answers of one dialogue, 1 to 5 turns."""
        turns: Exchange = []
        for _ in range(self.rng.choice([1, 1, 1, 1, 2, 2, 3, 4])):
            new = self.rng.choices(self.draws, self.weights)[0][1]()
            if len(new) == 2 and self.rng.random() < 0.5:  # something between telling and asking
                new[1:1] = self.rng.choices(self.draws, self.weights)[0][1]()[:1]
            turns += new
        return turns

    def dialogue(self) -> list[Message]:
        """One dialogue: mostly under the default system prompt, sometimes under an instruction or none."""
        turns, kind = self.exchanges(), self.rng.random()
        system: str | None = DEFAULT_SYSTEM
        if kind < 0.15:
            system, turns = self.obey(turns)
        elif kind < 0.30:
            system = self.fill(self.rng.choice(words.NEUTRAL_SYSTEMS), self.slots())
        elif kind < 0.38:
            system = None
        messages = [("system", system)] if system else []
        for ask, answer in turns:
            messages += [("user", ask), ("assistant", answer)]
        return messages

    def obey(self, turns: Exchange) -> tuple[str, Exchange]:
        """A system prompt with one simple rule, and the answers changed to follow it."""
        word = self.rng.choice(["Sure!", "Well,", "Of course.", "Hello!", "Okay:", "Yes!", "Meow!", "Ahoy!"])
        name = self.rng.choice(words.NAMES)
        rules: list[tuple[str, Callable[[str], str]]] = [
            ("<Answer|Write|Reply|Speak> <only |>in <capital letters|upper case|uppercase>.", str.upper),
            ("<Answer|Write|Reply|Speak> <only |>in <lower case|lowercase|small letters>.", str.lower),
            (f'<Begin|Start> <every|each> answer with "{word}"', lambda a: f"{word} {a}"),
            (f'<End|Finish> <every|each> answer with "{word}"', lambda a: f"{a} {word}"),
            ("<You are|Speak like|Talk like|Answer like> a pirate.", lambda a: f"Arr! {a}"),
            ("<Answer|Reply> <in|as> JSON.", lambda a: json.dumps({"answer": a}, ensure_ascii=False)),
            ("<Be brief.|Answer with one sentence.|Keep it short.>", first_sentence),
        ]
        if self.rng.random() < 0.25:
            named = [f"Your name is {name}.", f"You are {name}.", f"You are {name}, a helpful assistant."]
            pattern = self.rng.choice(named)
            ask = self.ask("<who are you|what is your name|what's your name|introduce yourself>")
            return pattern, [(ask, f"I am {name}. How can I help you?"), *turns]
        pattern, rule = self.rng.choice(rules)
        lead = self.rng.choice(["", "", "You are a helpful assistant. ", DEFAULT_SYSTEM + " "])
        return lead + self.fill(pattern, {}), [(ask, rule(answer)) for ask, answer in turns]


def first_sentence(answer: str) -> str:
    """The first sentence of an answer; an answer with code or a list stays whole."""
    return answer if "\n" in answer else re.split(r"(?<=[.!?]) (?=[A-Z`])", answer)[0]


def chatml(messages: list[Message]) -> Iterator[tuple[str, bool]]:
    """Pieces of the ChatML text; True marks what the assistant says."""
    for role, content in messages:
        yield f"<|im_start|>{role}\n", False
        yield f"{content}<|im_end|>", role == "assistant"
        yield "\n", False
    yield "<|endoftext|>", False


def write_dialogues(n: int, seed: int) -> Iterator[list[Message]]:
    """n dialogues."""
    writer = Writer(seed)
    for _ in range(n):
        yield writer.dialogue()
