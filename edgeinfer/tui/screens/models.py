"""The models of this machine and those that can be fetched, to choose one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option, OptionDoesNotExist

from edgeinfer.hub.names import BUNDLED
from edgeinfer.hub.offline import is_offline
from edgeinfer.text.safe import safe_text
from edgeinfer.text.sizes import in_bytes
from edgeinfer.tui.choices import Choice, Outlook, suggested
from edgeinfer.tui.expecting import Expected, Find, Finding, Found
from edgeinfer.tui.widgets.dialog import Dialog

if TYPE_CHECKING:
    from edgeinfer.tui.app import ChatApp

# of all else $text-error
_COLOURS = {
    "fits": "$text-success",
    "tight": "$text-warning",
    "": "$text-muted",
    "open": "$text-success",
    "closed": "$text-muted",
}
_VERDICT, _SPEED, _SIZE = 12, 10, 11  # columns
_ROOM_FOR_SIZE = 60  # columns of a list that has sizes too


class _Search(Input):
    """Takes Enter itself, behind the letters before it: a screen may get it while these are on their way."""

    BINDINGS = [Binding("enter", "screen.choose", "Open or fetch")]  # noqa: RUF012


class ModelsScreen(ModalScreen[str | None]):
    """Gives the name of a model, or what was typed instead of choosing one, or None."""

    app: ChatApp
    BINDINGS = [  # noqa: RUF012
        Binding("escape,f3", "dismiss(None)", "Close", key_display="esc"),
        Binding("down", "move('cursor_down')", show=False),
        Binding("up", "move('cursor_up')", show=False),
        Binding("pagedown", "move('page_down')", show=False),
        Binding("pageup", "move('page_up')", show=False),
    ]

    def __init__(self, find: Find, current: str, problem: str = "", where: str = "") -> None:
        """See below.

        Args:
            find: finds models, and what to expect of them.
            current: the name of the model that is open.
            problem: why none is.
            where: the server that has them; "": this machine.
        """
        super().__init__()
        self._find_models = find
        self._where = where
        self._current = current
        self._problem = problem
        self._all: list[Choice] = []
        self._outlooks: dict[str, Outlook] = {}
        self._finding: Finding | None = None

    def compose(self) -> ComposeResult:
        """What is here, what can be fetched, a line for anything else, and what the chosen one is."""
        with Dialog("Models"):
            if self._problem:
                yield Static(Content(safe_text(self._problem)), classes="problem")
            asks = "Search" if self._where else "Search, user/repo:QUANT, or a .gguf file"
            yield _Search(placeholder=asks, compact=True, classes="search")
            yield OptionList()
            yield Static("Looking for models", id="details")
            yield Footer()

    def on_mount(self) -> None:
        """The list comes from a thread, and what to expect of each."""
        self.query_one(OptionList).can_focus = False
        self._finding = self._find_models(self.post_message, lambda: not self.app.chat.is_answering)

    def on_unmount(self) -> None:
        """Nobody looks any more."""
        if self._finding is not None:
            self._finding.stop()

    def on_resize(self) -> None:
        """Other columns."""
        self.call_after_refresh(self._list)

    @on(Found)
    def _take_models(self, event: Found) -> None:
        found = self._all = list(event.models)
        self._list()
        if not self._problem and all(c.name in BUNDLED for c in found if c.is_here):  # the first start
            self._highlight(next((choice.name for choice in suggested(found)), self._current))

    @on(Expected)
    def _take_outlook(self, event: Expected) -> None:
        choice = event.model
        self._outlooks[choice.name] = event.outlook
        with contextlib.suppress(OptionDoesNotExist):  # it is not among what is searched for
            self.query_one(OptionList).replace_option_prompt(self._key(choice), self._line(choice))
        if choice == self._highlighted:
            self._tell()

    def _list(self) -> None:
        words = self.query_one(Input).value.lower().split()
        found = [c for c in self._all if all(word in c.name.lower() for word in words)]
        options = self.query_one(OptionList)
        before = self._highlighted
        options.clear_options()
        offline = is_offline()
        here = f"At {self._where}" if self._where else "On this machine"
        sections = (
            (here, [c for c in found if c.is_here], True),
            (
                "Offline: these cannot be fetched" if offline else "To fetch",
                [c for c in found if not c.is_here and c.is_runnable],
                not offline,
            ),
            ("edgeinfer cannot run these yet", [c for c in found if not c.is_runnable], False),
        )
        for title, models, can_be_chosen in sections:
            if models:
                options.add_option(Option(Content.styled(title, "bold"), disabled=True))
                options.add_options(
                    Option(self._line(c), id=self._key(c), disabled=not can_be_chosen) for c in models
                )
        self._highlight(before.name if before is not None else self._current)
        self._tell()

    def _highlight(self, name: str) -> None:
        """That one, or the first."""
        options = self.query_one(OptionList)
        by_name = {self._all[int(o.id)].name: i for i, o in enumerate(options.options) if o.id is not None}
        enabled = [i for i, option in enumerate(options.options) if not option.disabled]
        index = by_name.get(name)
        options.highlighted = index if index in enabled else next(iter(enabled), None)

    def _key(self, choice: Choice) -> str:
        return str(self._all.index(choice))

    @property
    def _highlighted(self) -> Choice | None:
        option = self.query_one(OptionList).highlighted_option
        return self._all[int(option.id)] if option is not None and option.id is not None else None

    def _line(self, choice: Choice) -> Content:
        width = self.query_one(OptionList).scrollable_content_region.width
        known = self._outlooks.get(choice.name, Outlook("", "", ""))
        speed = f"{known.tokens_per_s:.0f} t/s" if known.tokens_per_s is not None else ""
        size = in_bytes(choice.size_bytes) if choice.size_bytes is not None else ""
        of_size = _SIZE if width >= _ROOM_FOR_SIZE else 0
        room = max(8, width - 6 - of_size - _VERDICT - _SPEED)
        name = Content(safe_text(choice.name)).truncate(room, ellipsis=True, pad=True)
        return Content.assemble(
            ("\u25cf " if choice.name == self._current else "  ", "$text-accent"),
            name,
            f"{size:>{of_size}}"[:of_size],
            " ",
            (f" {known.verdict:<{_VERDICT}}", _COLOURS.get(known.verdict, "$text-error")),
            f"{speed:>{_SPEED - 1}}",
        )

    @on(OptionList.OptionHighlighted)
    def _tell(self) -> None:
        """What the highlighted one is."""
        choice = self._highlighted
        if choice is None:
            text = "Enter asks the hub for it, or opens the file" if self.query_one(Input).value else ""
        else:
            known = self._outlooks.get(choice.name, Outlook("", "", ""))
            text = "\n".join(filter(None, [known.told, known.facts]))
        self.query_one("#details", Static).update(Content(text))

    @on(Input.Changed)
    def _search(self) -> None:
        self._list()

    @on(OptionList.OptionSelected)
    def action_choose(self) -> None:
        """The highlighted one; what was typed, if there is no such."""
        self._list()  # for what is written now
        choice, typed = self._highlighted, self.query_one(Input).value.strip()
        if choice is not None:
            self.dismiss(choice.name)
        elif typed:
            self.dismiss(typed)

    def action_move(self, how: str) -> None:
        """In the list, while one types."""
        getattr(self.query_one(OptionList), f"action_{how}")()
