package io.hydraopt

/**
 * A turn of a conversation.
 *
 * @property role `user` or `assistant`.
 * @property content its text.
 */
data class ChatMessage(val role: String, val content: String)

/** What to do when a conversation is longer than the context. */
enum class Full {
    /** Throw [ContextFullException]. */
    REFUSE,

    /** Drop the oldest messages with their answers, until there is room for the next answer. */
    DROP
}

/**
 * A conversation with a session's current task; [TaskSession.chat] begins one.
 *
 * A prompt is exactly what the base's chat template makes of the conversation, and what it has in
 * common with the KV cache is not computed again; after a switch all of it is. Chats may share a
 * session: each is computed again in its turn. Calls take turns, as those of the session.
 */
class Chat internal constructor(
    private val session: TaskSession,
    private val template: ChatTemplate,
    private val between: Conversation,
    system: String?,
    messages: List<ChatMessage>,
    private val full: Full
) {
    private class Turn(val message: String, val answer: StringBuilder = StringBuilder())

    @Volatile
    private var turns = past(messages)

    /** The system prompt; null for the template's own, if it has one. May be set at any time. */
    var system: String? = checked(system)
        set(text) {
            field = checked(text)
        }

    /** Number of messages that were dropped, with their answers, for a full context. */
    @Volatile
    var dropped = 0
        private set

    /** Messages and answers, alternately, as [TaskSession.chat] takes them. */
    val messages: List<ChatMessage>
        get() = turns.flatMap {
            listOf(ChatMessage(USER, it.message), ChatMessage(ASSISTANT, "${it.answer}"))
        }

    /**
     * Answers a message.
     *
     * An answer that ends early, by [cancellation] or by an error, is kept as far as it came; if
     * that is nothing, the conversation stays as it was. Empty thoughts are left out.
     *
     * @param options sampling options; [Options.chat] has no effect.
     * @param cancellation ends the answer early.
     * @param onPiece receives the answer as of [TaskSession.generate].
     * @return the answer with its timings.
     * @throws ContextFullException the conversation, or the message alone, is longer than the
     *   context.
     * @throws TaskException the message is empty; or as [TaskSession.generate].
     */
    @JvmOverloads
    fun send(
        message: String,
        options: Options = OPTIONS,
        cancellation: Cancellation = Cancellation(),
        onPiece: (String) -> Unit = {}
    ): Generation = session.chatting("send") { model, sequence, tokenizer ->
        val prompt = fitting(turns + Turn(message), options, model, tokenizer)
        answer(prompt, options, cancellation, onPiece, sequence, tokenizer)
    }

    /**
     * Answers the last message again, in place of its answer; otherwise as [send].
     *
     * @throws TaskException there is no message yet; or as [send].
     */
    @JvmOverloads
    fun retry(
        options: Options = OPTIONS,
        cancellation: Cancellation = Cancellation(),
        onPiece: (String) -> Unit = {}
    ): Generation = session.chatting("retry") { model, sequence, tokenizer ->
        val last = turns.lastOrNull()
            ?: throw TaskException("there is no message to answer again; send one")
        val prompt = fitting(turns.dropLast(1) + Turn(last.message), options, model, tokenizer)
        answer(prompt, options, cancellation, onPiece, sequence, tokenizer)
    }

    /** Turns that the context has room for, and their ids. */
    private class Prompt(val turns: List<Turn>, val dropped: Int, val ids: IntArray)

    private fun fitting(
        all: List<Turn>,
        options: Options,
        model: Model.CausalLm,
        tokenizer: Tokenizer
    ): Prompt {
        checkText(all.last().message, "the message", "write one")
        val most = model.maxLength
        // an answer shall not end at once, nor its room take the whole conversation
        val room = minOf(options.maxNewTokens, most / 4)
        var turns = all
        var ids = encoded(turns, tokenizer)
        while (full == Full.DROP && turns.size > 1 && ids.size + room > most) {
            turns = turns.drop(1)
            ids = encoded(turns, tokenizer)
        }
        if (ids.size < most) return Prompt(turns, all.size - turns.size, ids)
        val isOne = turns.size == 1
        val what = if (isOne) "message" else "conversation"
        val step = if (isOne) "shorten it" else "begin another, drop its oldest messages (Full.DROP)"
        throw ContextFullException(
            "the $what has ${ids.size} tokens in the chat template, expected at most ${most - 1}; " +
                "$step or export with more --max-length"
        )
    }

    private fun encoded(turns: List<Turn>, tokenizer: Tokenizer): IntArray {
        val texts = turns.flatMap { listOf(it.message, "${it.answer}") }.dropLast(1)
        (texts + listOfNotNull(system)).forEach(Tokenizer::checkText)
        return tokenizer.encodeTurns(template.pieces(texts, system))
    }

    private fun answer(
        prompt: Prompt,
        options: Options,
        cancellation: Cancellation,
        onPiece: (String) -> Unit,
        sequence: Sequence,
        tokenizer: Tokenizer
    ): Generation {
        val before = turns
        val answer = prompt.turns.last().answer
        turns = prompt.turns
        try {
            return session.generated(
                prompt.ids, options, cancellation, sequence, tokenizer, between.thoughts, true
            ) {
                answer.append(it)
                onPiece(it)
            }.also {
                if (it.end == End.CANCELLED && answer.isEmpty()) turns = before
            }
        } catch (error: Throwable) {
            if (answer.isEmpty()) turns = before
            throw error
        } finally {
            if (turns === prompt.turns) dropped += prompt.dropped
        }
    }

    private fun checked(system: String?): String? {
        if (system == null) return null
        checkText(system, "the system prompt", "leave it out")
        if (between.system == null) {
            throw TaskException(
                "the base's chat template takes no system prompt; write it into a message"
            )
        }
        return system
    }

    /** Its defaults. */
    companion object {
        /** Options of answers for which none are passed. */
        @JvmField
        val OPTIONS = Options(maxNewTokens = 256)

        private const val USER = "user"
        private const val ASSISTANT = "assistant"

        private fun past(messages: List<ChatMessage>): List<Turn> {
            for ((index, message) in messages.withIndex()) {
                val role = if (index % 2 == 0) USER else ASSISTANT
                val place = "message ${index + 1}"
                if (message.role != role) {
                    throw TaskException(
                        "$place has the role '${oneLine(message.role)}', expected '$role': " +
                            "messages of user and assistant alternate, and a system prompt is " +
                            "passed as system"
                    )
                }
                if (role == USER) {
                    checkText(message.content, place, "leave it and its answer out")
                }
            }
            if (messages.size % 2 == 1) {
                throw TaskException(
                    "the messages end with one of the user, expected its answer; send it"
                )
            }
            return messages.chunked(2) { (message, answer) ->
                Turn(message.content, StringBuilder(answer.content))
            }
        }

        private fun checkText(text: String, what: String, step: String) {
            if (text.all(Characters::isPythonSpace)) {
                throw TaskException("$what is empty, expected a text; $step")
            }
        }
    }
}
