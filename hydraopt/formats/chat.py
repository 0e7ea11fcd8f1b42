"""The manifest's record of a chat template: the texts that it writes around those of turns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Conversation:
    """What a chat template writes between the turns of a conversation.

    Attributes:
        system: texts before and after a system prompt, up to the first message; None if the
            template takes none.
        answer: between a message and its answer, once that is past. Other than the template's
            ``suffix`` if the model is prompted with more than its past answers begin with.
        message: between an answer and the next message.
        stripped: roles, ``system`` and ``assistant``, whose texts are stripped of white space.
        thoughts: tags around a model's thoughts, which are left out of past answers: an answer
            begins after the last closing tag and the line breaks that follow. None if past answers
            stay whole.
    """

    system: tuple[str, str] | None
    answer: str
    message: str
    stripped: tuple[str, ...] = ()
    thoughts: tuple[str, str] | None = None

    def past(self, answer: str) -> str:
        """Return an answer as the template writes it before the next message."""
        if self.thoughts and self.thoughts[1] in answer:
            answer = answer.rpartition(self.thoughts[1])[2].lstrip("\n")
        return answer.strip() if "assistant" in self.stripped else answer


@dataclass(frozen=True)
class ChatTemplate:
    """The base model's chat template, as the texts that it writes around those of turns.

    Encode the template's texts and those of turns in one, without adding special tokens: the
    template's are parsed, and ``prefix`` includes the beginning-of-text token if the template does.
    Special tokens in the text of a turn are plain text.

    Attributes:
        prefix: default system prompt, if any, and start of the first message.
        suffix: end of the last message and start of the answer.
        strip: whether messages are stripped of white space.
        arguments: variables of the template for which the other fields hold, name -> JSON.
        conversation: what is between the turns; None if conversations are not of this form.
    """

    prefix: str
    suffix: str
    strip: bool
    arguments: Mapping[str, str] = field(default_factory=dict)
    conversation: Conversation | None = None

    def pieces(self, turns: Sequence[str], system: str | None = None) -> list[str]:
        """Return a prompt as texts of the template and of turns, alternately.

        Args:
            turns: messages and answers, alternately; the last is the message to answer. More than
                one need :attr:`conversation`.
            system: the system prompt; needs :attr:`Conversation.system`.
        """
        between = self.conversation
        pieces = [self.prefix]
        if system is not None and between and between.system:
            before, after = between.system
            stripped = system.strip() if "system" in between.stripped else system
            pieces = [before, stripped, after]
        for index, turn in enumerate(turns):
            if index and between:
                pieces.append(between.answer if index % 2 else between.message)
            if index % 2 and between:
                pieces.append(between.past(turn))
            else:
                pieces.append(turn.strip() if self.strip else turn)
        return [*pieces, self.suffix]

    def render(self, *turns: str, system: str | None = None) -> str:
        """Return :meth:`pieces` as one text."""
        return "".join(self.pieces(turns, system))


def read_chat(fields: Mapping) -> ChatTemplate:
    """Parse a manifest's ``chat``, which must match the schema."""
    conversation = fields["conversation"]
    return ChatTemplate(**{**fields, "conversation": conversation and _conversation(conversation)})


def _conversation(fields: Mapping) -> Conversation:
    system, thoughts = fields["system"], fields["thoughts"]
    return Conversation(
        system and tuple(system),
        fields["answer"],
        fields["message"],
        tuple(fields["stripped"]),
        thoughts and tuple(thoughts),
    )
