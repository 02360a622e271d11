"""Grammars against what they mean, for every kind of vocabulary, and against whoever means harm."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from vocabularies import load, needs_vocabularies, vocabulary_path, write_vocabulary

from edgeinfer.errors import InvalidRequest
from edgeinfer.text.grammar import Grammar, GrammarCompiler, TokenConstraint, json_rule
from edgeinfer.text.tokenizer import Tokenizer

JSON_GBNF = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws  # as llama.cpp has it
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


@functools.cache
def compiler() -> GrammarCompiler:
    """<unk>, <s>, </s>, all bytes, two words and, in the logits, tokens that nobody knows."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁ab", "<tool>"]
        types = [2, 3, 3, *[6] * 256, 1, 4]
        path = write_vocabulary(
            Path(folder) / "m.gguf", "llama", tokens, types=types, scores=[0.0] * len(tokens)
        )
        return GrammarCompiler(load(path), len(tokens) + 21)


def ids_of(text: str) -> list[int]:
    return [3 + byte for byte in text.encode()]


def takes(constraint: TokenConstraint, ids: list[int]) -> bool:
    """Whether these tokens may come next, one after another."""
    for token in ids:
        if constraint.mask()[token] != 0:
            return False
        constraint.advance(token)
    return True


def accepts(grammar: Grammar, text: str) -> bool:
    constraint = compiler().compile(grammar).constraint()
    return takes(constraint, ids_of(text)) and constraint.mask()[2] == 0


@pytest.mark.parametrize(
    ("grammar", "right", "wrong"),
    [
        (Grammar.json_object(), ['{"a": 1, "b":[{}]}', "{}"], ["[]", '{"a":  1}', "{\n}", '{"a": 1} ', ""]),
        (
            Grammar.json_schema(PERSON),
            ['{"name": "é\\n", "age": 3}', '{"name":""}'],
            ['{"age": 3}', '{"name": 1}'],
        ),
        (Grammar.json_schema(True), ["1.5e3", "null"], ["1,", " null"]),
        (Grammar.json_schema({"$ref": "#/$defs/x", "$defs": {"x": {"enum": [1, "a"]}}}), ["1", '"a"'], ["2"]),
        (Grammar.regex(r"[a-c]+/\d{2,3}\n"), ["ab/12\n", "c/123\n"], ["/12\n", "ab/1234\n", "ab/12"]),
        (Grammar.gbnf(JSON_GBNF), ['{"a": [1, -2.5e3, "x\\u00e4"], "b":{}}'], ['{"a"}', "[]"]),
        (Grammar.gbnf('root ::= "yes" | # or\n  "no" root'), ["yes", "nonoyes"], ["no", "yesno"]),
        (Grammar.gbnf(r'root ::= "\u00e4" [\u00e0-\u00ff]+ "\\" "\u0022"'), ['äöü\\"'], ['äa\\"', "ä"]),
        (Grammar.lark(f'start: "<" {json_rule({"type": "integer"})} ">"'), ["<-12>"], ["<1.5>", "<>"]),
    ],
)
def test_a_grammar_takes_what_it_means_and_nothing_else(
    grammar: Grammar, right: list[str], wrong: list[str]
) -> None:
    assert [text for text in right if not accepts(grammar, text)] == []
    assert [text for text in wrong if accepts(grammar, text)] == []


GOLDENS = json.loads(Path(__file__, "../../goldens/grammars.json").resolve().read_text())


def test_gbnf_allows_what_llama_cpp_does() -> None:
    for golden in GOLDENS:
        if golden["allows"] is not None:
            compiled = compiler().compile(Grammar.gbnf(golden["grammar"]))
            for text, allowed in golden["allows"].items():
                constraint = compiled.constraint()
                found = takes(constraint, ids_of(text)) and constraint.mask()[2] == 0
                assert found == allowed, (golden["grammar"], text)


def test_gbnf_is_refused_where_llama_cpp_refuses_it() -> None:
    refused = [golden["grammar"] for golden in GOLDENS if golden["allows"] is None]
    for grammar in refused:
        with pytest.raises(InvalidRequest):
            compiler().compile(Grammar.gbnf(grammar))
    assert refused


def test_gbnf_names_tokens() -> None:
    tool, space_ab = 260, 259
    by_name = compiler().compile(Grammar.gbnf('root ::= "a"+ <tool> !<tool>* <[1]> "x"'))
    assert takes(by_name.constraint(), [*ids_of("aa"), tool, *ids_of("<to"), space_ab, 1, *ids_of("x")])
    assert not takes(by_name.constraint(), ids_of("a<"))
    assert not takes(by_name.constraint(), [*ids_of("a"), tool, tool])
    assert takes(compiler().compile(Grammar.gbnf("root ::= <s>")).constraint(), [1])
    inside = by_name.constraint()
    assert takes(inside, [*ids_of("a"), tool])
    assert [i for i, value in enumerate(inside.mask()) if value == 0 and (i in (2, tool) or i > tool)] == []
    with pytest.raises(InvalidRequest, match="<nobody>"):
        compiler().compile(Grammar.gbnf("root ::= <nobody>"))


def test_it_is_complete_where_nothing_can_follow() -> None:
    constraint = compiler().compile(Grammar.regex("ab?c")).constraint()
    assert [constraint.advance(token) for token in ids_of("abc")] == [False, False, True]


def test_tokens_are_taken_by_the_bytes_that_readers_see() -> None:
    space_ab, tool = 259, 260
    words = compiler().compile(Grammar.regex("( ab|<tool>)+")).constraint()
    assert takes(words, [space_ab, tool, *ids_of(" a"), *ids_of("b")])
    mask = compiler().compile(Grammar.regex("(?s:.*)")).constraint().mask()
    assert [
        i for i in range(len(mask)) if mask[i] == 0 and (i < 2 or i > tool)
    ] == []  # nobody sees or knows them


def test_a_grammar_may_ask_for_tokens_themselves() -> None:
    constraint = compiler().compile(Grammar.lark('start: <[260]> "x" <s>')).constraint()
    assert not takes(compiler().compile(Grammar.lark('start: <[260]> "x" <s>')).constraint(), ids_of("<"))
    assert takes(constraint, [260, *ids_of("x"), 1])


def test_answers_under_one_grammar_do_not_touch_each_other() -> None:
    compiled = compiler().compile(Grammar.regex("ab"))
    first, second = compiled.constraint(), compiled.constraint()
    assert takes(first, ids_of("a"))
    assert takes(second, ids_of("ab"))
    assert takes(first, ids_of("b"))


@needs_vocabularies
@pytest.mark.parametrize("name", ["llama-bpe", "llama-spm", "bert-bge"])
def test_every_kind_of_vocabulary_writes_json(name: str) -> None:
    tokenizer: Tokenizer = load(vocabulary_path(name))
    grammar = Grammar.json_schema(PERSON)
    constraint = GrammarCompiler(tokenizer, tokenizer.n_vocab + 7).compile(grammar).constraint()
    written = b""
    while not (ended := written.endswith(b"}")) and len(written) < 100:
        allowed = [i for i in (constraint.mask() == 0).nonzero()[0] if i not in tokenizer.eog_ids]
        token = int(min(allowed, key=lambda i: (b'"' not in tokenizer.token_bytes(i), i)))
        constraint.advance(token)
        written += tokenizer.token_bytes(token)
    assert ended, written


def nested(n: int) -> dict[str, Any]:
    return {"type": "array", "items": nested(n - 1)} if n else {"type": "integer"}


def chained(n: int, keyword: str) -> dict[str, Any]:
    """$defs of which each asks for the next one twice."""
    defs: dict[str, Any] = {f"d{i}": {keyword: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(n)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{n}": {"type": "integer"}}}


BROKEN = {
    "open": lambda: Grammar.gbnf("root ::= ("),
    "no root": lambda: Grammar.gbnf('start ::= "a"'),
    "unknown rule": lambda: Grammar.gbnf("root ::= nobody"),
    "nothing": lambda: Grammar.gbnf(""),
    "regex": lambda: Grammar.regex("(a"),
    "look-around": lambda: Grammar.regex("a(?=b)"),
    "surrogate": lambda: Grammar.regex("\ud800"),
    "type": lambda: Grammar.json_schema({"type": "nonsense"}),
    "keyword": lambda: Grammar.json_schema({"type": "array", "uniqueItems": True}),
    "no JSON": lambda: Grammar.json_schema({"const": {1, 2}}),
    "false": lambda: Grammar.json_schema(False),
    "remote": lambda: Grammar.json_schema({"$ref": "http://127.0.0.1:9/schema"}),
    "file": lambda: Grammar.json_schema({"$ref": "file:///etc/passwd"}),
    "endless": lambda: Grammar.json_schema({"$ref": "#"}),
    "large number": lambda: Grammar.json_schema({"type": "integer", "minimum": 10**300}),
    "60,000 parentheses": lambda: Grammar.gbnf("root ::= " + "(" * 60000 + '"a"' + ")" * 60000),
    "60,000 in Lark": lambda: Grammar.lark("start: " + "(" * 60000 + '"a"' + ")" * 60000),
    "60,000 in a regex": lambda: Grammar.regex("(" * 60000 + "a" + ")" * 60000),
    "deep": lambda: Grammar.json_schema(nested(400)),
    "many rules": lambda: Grammar.gbnf(
        "root ::= r0\n" + "".join(f"r{i} ::= r{i + 1}\n" for i in range(30000))
    ),
    "many alternatives": lambda: Grammar.json_schema({"enum": [f"x{i}" for i in range(100_000)]}),
    "many properties": lambda: Grammar.json_schema({"properties": {f"x{i}": {} for i in range(20_000)}}),
    "powers of two": lambda: Grammar.lark(
        "start: R0\n" + "".join(f"R{i}: R{i + 1} R{i + 1}\n" for i in range(60)) + 'R60: "a"'
    ),
    "llama.cpp's killer": lambda: Grammar.gbnf('root ::= (("a"?){100}){100}'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_or_absurd_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        compiler().compile(BROKEN[name]())


HEAVY = {
    "repetitions": lambda: Grammar.regex("(((a{1000}){1000}){1000}){1000}"),
    "optional repetitions": lambda: Grammar.regex("((a?){100}){100}"),
    "many ways to count": lambda: Grammar.regex("(.*a){1000}.{1000}"),
    "many ways to parse": lambda: Grammar.lark('start: s\ns: s s s | s s | "a" | ""'),
    "left recursion": lambda: Grammar.gbnf('root ::= root "a" | root root | ""'),
    "killer by rules": lambda: Grammar.gbnf('root ::= x{100}\nx ::= y{100}\ny ::= "a"? z\nz ::= root?'),
    "ends everywhere": lambda: Grammar.gbnf("root ::= x " + "[a-c]? " * 5000 + "\nx ::= [a-z]* root?"),
    "sets of places": lambda: Grammar.gbnf("root ::= x\nx ::= [ab]* [a]" + " [ab]" * 60 + " x?"),
    "doubled rules": lambda: Grammar.gbnf(
        "root ::= r0\n" + "".join(f"r{i} ::= r{i + 1} r{i + 1}\n" for i in range(60)) + 'r60 ::= "a"'
    ),
    "many words": lambda: Grammar.gbnf("root ::= x\nx ::= " + " x? |".join(f'"w{i}"' for i in range(5000))),
    "endless and certain": lambda: Grammar.gbnf('root ::= as "a"\nas ::= [a]*'),
    "chain": lambda: Grammar.gbnf(
        "root ::= r0\n" + "".join(f"r{i} ::= r{i + 1}\n" for i in range(400)) + 'r400 ::= "a"'
    ),
    "allOf": lambda: Grammar.json_schema(chained(2000, "allOf")),
    "anyOf": lambda: Grammar.json_schema(chained(900, "anyOf")),
    "long": lambda: Grammar.json_schema({"type": "string", "minLength": 10**6}),
    "many items": lambda: Grammar.json_schema({"type": "array", "minItems": 10**9, "items": {"const": 1}}),
    "large divisor": lambda: Grammar.json_schema({"type": "integer", "multipleOf": 7919}),
}


@pytest.mark.parametrize("name", HEAVY)
def test_what_is_heavy_is_followed_or_given_up_and_never_hangs_or_kills(name: str) -> None:
    with contextlib.suppress(InvalidRequest):
        constraint = compiler().compile(HEAVY[name]()).constraint()
        for _ in range(64):
            allowed = (constraint.mask() == 0).nonzero()[0]
            letters = [i for i in allowed if i in ids_of("a1")] or [i for i in allowed if i != 2]
            if not letters or constraint.advance(int(letters[0])):
                break
    assert accepts(Grammar.regex("a"), "a")  # others go on
