package io.hydraopt.demo

import io.hydraopt.Chat
import io.hydraopt.ChatMessage
import io.hydraopt.Full

/** A message and its answer, as far as it came. */
data class Turn(val message: String, val answer: String = "")

/**
 * A conversation.
 *
 * @property number tells conversations apart.
 * @property system its system prompt; blank for the one of the model's chat format, if any.
 * @property turns the whole conversation, the oldest first.
 * @property dropped number of the oldest turns that the model no longer sees.
 * @property drops whether turns are dropped when the context is full.
 * @property isFull whether that is why the last message was not answered.
 */
data class Talk(
    val number: Int = 0,
    val system: String = "",
    val turns: List<Turn> = listOf(),
    val dropped: Int = 0,
    val drops: Boolean = false,
    val isFull: Boolean = false
) {
    /** The library's policy for a full context. */
    val full: Full get() = if (drops) Full.DROP else Full.REFUSE

    /** What the model sees of it, as the library takes it. */
    val messages: List<ChatMessage>
        get() = turns.drop(dropped).flatMap {
            listOf(ChatMessage("user", it.message), ChatMessage("assistant", it.answer))
        }

    /** Another one, with the same system prompt. */
    fun renewed(): Talk = Talk(number + 1, system)

    /** Asks a new message, or without one the last again. */
    fun asking(message: String?): Talk {
        val turn = Turn(message ?: turns.last().message)
        return copy(turns = (if (message == null) turns.dropLast(1) else turns) + turn)
    }

    /** Continues the last answer. */
    fun hearing(piece: String): Talk {
        val last = turns.last()
        return copy(turns = turns.dropLast(1) + last.copy(answer = last.answer + piece))
    }

    /** What the library made of the conversation after the next message, or its refusal. */
    fun after(chat: Chat): Talk {
        val lost = dropped + chat.dropped
        val seen = chat.messages.chunked(2) { (said, answer) -> Turn(said.content, answer.content) }
        return copy(turns = turns.take(lost) + seen, dropped = lost)
    }
}
