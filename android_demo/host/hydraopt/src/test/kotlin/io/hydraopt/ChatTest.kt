package io.hydraopt

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.BeforeClass
import org.junit.Test

/** Conversations: Python's tokens and texts, turn by turn; what ends them. */
class ChatTest {
    private fun opened(name: String = "conversations", use: (TaskSession) -> Unit) =
        TaskSession.open(Fixtures.file(name)).use {
            it.switchTo("beta")
            use(it)
        }

    private val short = Options(maxNewTokens = 6)

    @Test
    fun answersAndWhatIsComputedForThemAreThoseOfPython() {
        for (record in Fixtures.records("conversations.json")) {
            opened(record.string("bundle")) { session ->
                val chat = session.chat(record.any("system") as String?)
                for (value in record.list("turns")) {
                    val turn = Fields("a turn", value)
                    val where = "${record.string("bundle")}: ${turn.string("message")}"
                    val pieces = StringBuilder()
                    val options = Options(12, stop = listOf("6$.6", ")N"))
                    val answer = chat.send(turn.string("message"), options) { pieces.append(it) }
                    assertEquals(where, turn.ints("ids"), answer.ids)
                    assertEquals(where, turn.string("answer"), answer.text)
                    assertEquals(where, answer.text, "$pieces")
                    assertEquals(where, turn.string("end"), answer.end.name)
                    assertEquals(where, turn.long("computed").toInt(), answer.promptTokens)
                    assertEquals(ChatMessage("assistant", answer.text), chat.messages.last())
                }
                assertEquals(2 * record.list("turns").size, chat.messages.size)
            }
        }
    }

    @Test
    fun aRetryComputesOneTokenAndASwitchAll() = opened { session ->
        val chat = session.chat("Be kind.")
        val first = chat.send("Hi", short)
        val again = chat.retry(short)
        assertEquals(first.ids, again.ids)
        assertEquals(1, again.promptTokens)
        session.switchTo("alpha")
        val other = chat.retry(short)
        assertEquals(first.promptTokens, other.promptTokens)
        assertNotEquals(first.ids, other.ids)
        val both = listOf(ChatMessage("user", "Hi"), ChatMessage("assistant", other.text))
        assertEquals(both, chat.messages)
    }

    @Test
    fun aConversationGoesOnFromItsMessages() = opened { session ->
        val chat = session.chat("Be kind.")
        for (message in listOf("Hi", "Why?")) chat.send(message, short)
        val later = session.chat("Be kind.", chat.messages)
        session.generate("something else")
        assertEquals(later.send("And?", short).ids, chat.send("And?", short).ids)
        assertEquals(later.messages, chat.messages)
    }

    @Test
    fun anAnswerThatEndsEarlyIsKeptAsFarAsItCame() = opened { session ->
        val chat = session.chat()
        val none = chat.send("Hi", short, Cancellation().apply { cancel() })
        assertEquals(End.CANCELLED, none.end)
        assertEquals(listOf<ChatMessage>(), chat.messages)
        val cancellation = Cancellation()
        val part = chat.send("Hi", Options(40), cancellation) { cancellation.cancel() }
        assertEquals(End.CANCELLED, part.end)
        assertEquals(ChatMessage("assistant", part.text), chat.messages.last())
        val error = runCatching { chat.send("Why?", short) { throw IllegalStateException("mine") } }
        assertEquals("mine", error.exceptionOrNull()?.message)
        assertEquals(4, chat.messages.size)
    }

    @Test
    fun aFullContextIsRefusedOrDropsTheOldestMessages() = opened { session ->
        val long = "What is it? ".repeat(8)
        val chat = session.chat("Be kind.")
        refuses<ContextFullException>("expected at most 511; begin another, drop its oldest") {
            repeat(9) { chat.send(long, short) }
        }
        val before = chat.messages
        assertTrue(before.size >= 4)
        val dropping = session.chat("Be kind.", before, Full.DROP)
        repeat(4) { dropping.send(long, short) }
        assertTrue(dropping.dropped > 0)
        assertEquals(before.size + 8 - 2 * dropping.dropped, dropping.messages.size)
    }

    @Test
    fun wrongConversationsAreOneClearLine() = opened { session ->
        val chat = session.chat()
        assertNull(chat.system)
        for (empty in listOf("", " \n")) {
            refuses<TaskException>("the message is empty, expected a text; write one") {
                chat.send(empty)
            }
        }
        refuses<TaskException>("the prompt is not UTF-8 at character 1") { chat.send("a\ud800") }
        refuses<ContextFullException>("the message has 5") { chat.send("x".repeat(512)) }
        refuses<TaskException>("there is no message to answer again; send one") { chat.retry() }
        refuses<TaskException>("the system prompt is empty") { session.chat(" ") }
        refuses<TaskException>("message 1 has the role 'tool', expected 'user': messages of") {
            session.chat(messages = listOf(ChatMessage("tool", "x")))
        }
        refuses<TaskException>("message 2 has the role 'user', expected 'assistant'") {
            session.chat(messages = List(2) { ChatMessage("user", "x") })
        }
        refuses<TaskException>("the messages end with one of the user, expected its answer") {
            session.chat(messages = listOf(ChatMessage("user", "x")))
        }
        assertEquals(listOf<ChatMessage>(), chat.messages)
    }

    @Test
    fun templatesOfOtherConversationsAreRefused() {
        val copy = Fixtures.copied("conversations")
        Fixtures.reseal(copy) { text ->
            val at = text.indexOf("\"conversation\": {")
            text.replaceRange(at, text.indexOf('}', at) + 1, "\"conversation\": null")
        }
        TaskSession.open(copy).use { session ->
            refuses<TaskException>("no task is current") { session.chat() }
            session.switchTo("beta")
            refuses<TaskException>("writes conversations of another form than texts around") {
                session.chat()
            }
            assertEquals(3, session.generate("Hi", Options(3, chat = true)).ids.size)
        }
    }

    companion object {
        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}
