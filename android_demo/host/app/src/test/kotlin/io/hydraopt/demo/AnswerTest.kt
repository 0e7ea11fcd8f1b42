package io.hydraopt.demo

import io.hydraopt.End
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

/** Prompts are answered piece by piece, and stopped; on the plain JVM. */
class AnswerTest : PresenterCase() {
    @Test
    fun allTasksAnswerAsInPython() {
        start()
        for ((task, prompt, answer) in Fixtures.answers("zoo")) {
            ask(task, prompt)
            assertEquals(mapOf(task to 1f), state.weights)
            assertEquals(answer, state.answer)
            assertEquals(End.END_TOKEN, state.end)
            assertNull(state.problem)
        }
        assertTrue("$logged", logged.isEmpty())
        val figures = state.figures
        assertEquals(40, figures.switches.size)
        assertTrue(figures.switchLow!! < figures.switchMedian!!)
        assertTrue(figures.switchMedian!! < figures.switchHigh!!)
        assertTrue(figures.firstToken!! > 0 && figures.prefill!! > 0 && figures.decode!! > 0)
    }

    @Test
    fun anAnswerComesPieceByPiece() {
        start()
        val answer = askSlowly().answer
        await("the end") { it.work == Work.NONE }
        assertEquals(answer, state.answer)
        val texts = seen.map { it.answer }.filter { it.isNotEmpty() }.distinct()
        assertTrue("$texts", texts.size > 3)
        for (text in texts) assertTrue("$text does not begin $answer", answer.startsWith(text))
    }

    @Test
    fun onlyTheFirstAnswerAfterASwitchTellsItsFirstToken() {
        start()
        val (task, prompt) = Fixtures.answers("zoo").first()
        ask(task, prompt)
        val first = state.figures.firstToken
        presenter.run()
        await("the answer again") { it.work == Work.NONE }
        assertEquals(first, state.figures.firstToken)
    }

    @Test
    fun stoppingKeepsWhatCame() {
        start()
        val asked = askSlowly()
        presenter.stop()
        await("the end") { it.work == Work.NONE }
        assertEquals(End.CANCELLED, state.end)
        assertTrue(state.answer.length < asked.answer.length)
        assertTrue(asked.answer.startsWith(state.answer.trimEnd('\uFFFD')))
        presenter.run()
        await("a whole answer") { it.work == Work.NONE }
        assertEquals(asked.answer, state.answer)
    }

    @Test
    fun anotherTaskEndsTheAnswer() {
        start()
        askSlowly()
        seen.clear()
        presenter.pick("second")
        await("the switch") { it.work == Work.NONE }
        assertEquals(mapOf("second" to 1f), state.weights)
        assertEquals(setOf(""), seen.map { it.answer }.toSet())
        assertNull(state.end)
    }

    @Test
    fun anotherScreenSeesWhatTheFirstOneDid() {
        start()
        val asked = askSlowly()
        presenter.view = null
        val count = seen.size
        await("more") { it.answer.length > 10 }
        assertEquals(count, seen.size)
        val others = ArrayList<State>()
        presenter.view = { others.add(it) }
        assertTrue(others.single().answer.length > 10)
        await("the end") { it.work == Work.NONE }
        assertEquals(asked.answer, others.last().answer)
    }
}
