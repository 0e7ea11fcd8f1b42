package io.hydraopt.demo

import io.hydraopt.ChatMessage
import io.hydraopt.End
import io.hydraopt.Options
import io.hydraopt.TaskSession
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

/** Conversations with real bundles, on the plain JVM: the library's answers, whatever happens. */
class ConversationTest : PresenterCase() {
    private val asked = Fixtures.answers("zoo").first { it.task == "money-pl" }
    private val turns get() = state.talk.turns

    private fun begin() {
        opened("lines")
        assertEquals(Form.CONVERSATION, state.form)
        pick(asked.task)
    }

    /** Sends to the slow bundle; returns when the first pieces came. */
    private fun sendSlowly() {
        opened("talks")
        pick("first")
        presenter.type("Hi")
        presenter.run()
        await("a piece") { it.talk.turns.last().answer.length > 3 }
        assertEquals(Work.ANSWERING, state.work)
    }

    @Test
    fun answersAreThoseOfTheLibrary() {
        begin()
        presenter.system("Be kind.")
        for (message in listOf("Hi", asked.prompt)) send(message)
        TaskSession.open(Fixtures.bundle("lines")).use {
            it.switchTo(asked.task)
            val chat = it.chat("Be kind.")
            for (message in listOf("Hi", asked.prompt)) chat.send(message, Options(512))
            assertEquals(chat.messages, state.talk.messages)
        }
        assertEquals(4, state.talk.messages.size)
        assertEquals(ChatMessage("user", "Hi"), state.talk.messages[0])
        assertEquals("", state.prompt)
        assertTrue(state.figures.decode!! > 0)
    }

    @Test
    fun theFirstAnswerIsTheTasksAndARetryIsTheNextTasks() {
        begin()
        send(asked.prompt)
        assertEquals(listOf(Turn(asked.prompt, asked.answer)), turns)
        assertEquals(End.END_TOKEN, state.end)
        val other = Fixtures.answers("zoo").first { it.task == "money-de" }
        pick(other.task)
        presenter.type("a draft")
        presenter.retry()
        await("another answer") { it.work == Work.NONE }
        assertEquals(1, turns.size)
        assertTrue("$turns", turns.single().answer.let { it.isNotEmpty() && it != asked.answer })
        assertEquals("a draft", state.prompt)
    }

    @Test
    fun anAnswerComesPieceByPieceAndIsStopped() {
        sendSlowly()
        await("pieces") { seen.map { it.talk.turns.lastOrNull()?.answer }.distinct().size > 5 }
        presenter.stop()
        await("the end") { it.work == Work.NONE }
        assertEquals(End.CANCELLED, state.end)
        val part = turns.single()
        assertFalse(state.canRun)
        presenter.type("And?")
        presenter.run()
        await("more") { it.talk.turns.last().answer.isNotEmpty() }
        assertEquals("what came is kept", part, turns.first())
    }

    @Test
    fun aMessageThatIsStoppedBeforeItsAnswerCanBeSentAgain() {
        sendSlowly()
        presenter.stop()
        await("the end") { it.work == Work.NONE }
        val part = turns.single()
        pick("second") // which has to read everything first
        presenter.type("again")
        presenter.run()
        presenter.stop()
        await("the end") { it.work == Work.NONE }
        assertEquals("again", state.prompt)
        assertEquals(listOf(part), turns)
        presenter.retry()
        presenter.stop()
        await("the end") { it.work == Work.NONE }
        assertEquals(listOf(part), turns)
    }

    @Test
    fun anotherTaskEndsTheAnswerAndTheConversationGoesOn() {
        sendSlowly()
        presenter.pick("second")
        await("the switch") { it.work == Work.NONE }
        val part = turns.single()
        assertTrue(part.answer.length > 3)
        presenter.type("And?")
        presenter.run()
        await("an answer") { it.talk.turns.last().answer.isNotEmpty() }
        assertEquals(listOf("Hi", "And?"), turns.map { it.message })
        assertEquals(part, turns.first())
    }

    @Test
    fun anotherConversationEndsTheAnswer() {
        sendSlowly()
        presenter.system("Be kind.")
        presenter.renew()
        presenter.type("New")
        presenter.run()
        await("an answer") { it.talk.turns.lastOrNull()?.answer.orEmpty().length > 3 }
        assertEquals(listOf("New"), turns.map { it.message })
        assertEquals("Be kind.", state.talk.system)
        assertNull(state.problem)
    }

    @Test
    fun aSystemPromptThatIsWrittenMeanwhileStays() {
        sendSlowly()
        presenter.system("Be")
        presenter.stop()
        await("the end") { it.work == Work.NONE }
        assertEquals("Be", state.talk.system)
        assertEquals(1, turns.size)
    }

    @Test
    fun aFullContextIsToldAndTheUserDecides() {
        begin()
        send(asked.prompt)
        val long = "word ".repeat(22).trim()
        send(long)
        assertTrue(state.talk.isFull)
        assertNull(state.problem)
        assertEquals("the message is not lost", long, state.prompt)
        assertEquals(listOf(Turn(asked.prompt, asked.answer)), turns)
        presenter.goOn()
        await("the answer") { it.work == Work.NONE }
        assertFalse(state.talk.isFull)
        assertEquals(1, state.talk.dropped)
        assertEquals("what is dropped can still be read", asked.prompt, turns.first().message)
        assertEquals(listOf(long, turns.last().answer), state.talk.messages.map { it.content })
        send(asked.prompt)
        assertEquals(2, state.talk.dropped)
        presenter.renew()
        await("a new one") { it.talk.turns.isEmpty() }
        assertEquals(0, state.talk.dropped)
        assertFalse(state.talk.drops)
    }

    @Test
    fun aMessageThatIsLongerThanTheContextIsTold() {
        begin()
        val long = "x".repeat(200)
        send(long)
        assertTold(Remedy.OTHER_PROMPT, "lines", "the message has 200 tokens in the chat template")
        assertEquals(long, state.prompt)
        assertEquals(listOf<Turn>(), turns)
        send(asked.prompt)
        send(long)
        assertTrue(state.talk.isFull)
        presenter.goOn()
        await("the refusal") { it.work == Work.NONE }
        assertTold(Remedy.OTHER_PROMPT, "lines", "the message has 200 tokens in the chat template")
        assertEquals(1, turns.size)
    }

    @Test
    fun anEmptyMessageIsNotSent() {
        begin()
        for (blank in listOf("", " \n\t")) {
            presenter.type(blank)
            assertFalse(state.canRun)
            presenter.run()
            assertEquals(Work.NONE, state.work)
        }
        send("\u0085") // white space for a tokenizer, though not for Kotlin
        assertTold(Remedy.OTHER_PROMPT, "lines", "the message is empty")
        assertEquals(listOf<Turn>(), turns)
        presenter.retry()
        assertEquals("there is nothing to answer again", Work.NONE, state.work)
    }

    @Test
    fun anotherProcessGoesOnWithTheConversation() {
        begin()
        presenter.system("Be kind.")
        send(asked.prompt)
        presenter.type("next")
        val remembered = presenter.remembered()
        val messages = state.talk.messages
        presenter.close()
        presenter = made()
        presenter.start(remembered)
        await("the task") { it.weights != null && it.work == Work.NONE }
        assertEquals(messages, state.talk.messages)
        assertEquals("Be kind.", state.talk.system)
        assertEquals("next", state.prompt)
        presenter.run()
        await("an answer") { it.work == Work.NONE }
        assertEquals(2, turns.size)
    }

    @Test
    fun anotherBundleBeginsAnotherConversation() {
        begin()
        send(asked.prompt)
        open("zoo")
        assertEquals(Form.PROMPT, state.form)
        assertFalse(state.chat)
        open("lines")
        assertEquals(listOf<Turn>(), turns)
    }

    @Test
    fun withoutItsChatFormatABundleTakesPrompts() {
        begin()
        presenter.chat(false)
        assertEquals(Form.PROMPT, state.form)
        send(asked.prompt)
        assertEquals(asked.answer, state.answer)
        assertEquals(listOf<Turn>(), turns)
    }

    @Test
    fun aChatFormatOfOneMessageTakesPrompts() {
        opened("messages")
        assertEquals(Form.PROMPT, state.form)
        presenter.chat(true)
        ask(asked.task, asked.prompt)
        TaskSession.open(Fixtures.bundle("messages")).use {
            it.switchTo(asked.task)
            val expected = it.generate(asked.prompt, Options(512, chat = true)).text
            assertEquals(expected, state.answer)
        }
    }
}
