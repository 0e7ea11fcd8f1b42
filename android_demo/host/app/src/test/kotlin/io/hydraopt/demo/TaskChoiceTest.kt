package io.hydraopt.demo

import io.hydraopt.Options
import io.hydraopt.TaskSession
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

/** The base, a task, its weight and mixtures; on the plain JVM. */
class TaskChoiceTest : PresenterCase() {
    @Test
    fun tasksAreFoundByWords() {
        start()
        presenter.choose(Picker.TASKS)
        assertEquals(40, state.found.size)
        presenter.search(" DE money")
        assertEquals(listOf("money-de"), state.found)
        presenter.choose(null)
        assertEquals(40, state.found.size)
    }

    private fun answerOf(bundle: String, prompt: String, switch: (TaskSession) -> Unit): String =
        TaskSession.open(Fixtures.bundle(bundle)).use {
            switch(it)
            it.generate(prompt, Options(maxNewTokens = 512)).text
        }

    @Test
    fun theBaseAScaledTaskAndAMixtureAnswerAsTheLibrary() {
        opened("portable")
        assertEquals(Mixing.ALLOWED, state.bundle!!.mixing)
        val cases = listOf<Pair<() -> Unit, (TaskSession) -> Unit>>(
            { presenter.pickBase() } to { it.switchToBase() },
            { presenter.pick("beta") } to { it.switchTo("beta") },
            { presenter.weigh("beta", 0.5f) } to { it.switchTo("beta", 0.5f) },
            { presenter.add("alpha") } to { it.switchTo(mapOf("beta" to 0.5f, "alpha" to 1f)) },
            { presenter.weigh("alpha", 2f) } to
                { it.switchTo(mapOf("beta" to 0.5f, "alpha" to 2f)) },
            { presenter.remove("beta") } to { it.switchTo("alpha", 2f) },
            { presenter.weigh("alpha", 0f) } to { it.switchToBase() }
        )
        val answers = cases.map { (choose, switch) ->
            choose()
            await("the switch") { it.work == Work.NONE }
            send("hello")
            assertEquals(answerOf("portable", "hello", switch), state.answer)
            state.answer
        }
        assertTrue("$answers", answers.toSet().size > 3)
        assertEquals(mapOf("alpha" to 0f), state.weights)
    }

    @Test
    fun onlyTheLastOfManyWeightsIsSwitchedTo() {
        opened("portable")
        pick("beta")
        val before = state.figures.switches.size
        for (step in 1..20) presenter.weigh("beta", step / 10f)
        await("the last") { it.work == Work.NONE }
        assertEquals(mapOf("beta" to 2f), state.weights)
        assertTrue("${state.figures.switches}", state.figures.switches.size < before + 20)
        send("hello")
        assertEquals(answerOf("portable", "hello") { it.switchTo("beta", 2f) }, state.answer)
    }

    @Test
    fun tasksThatCannotBeMixedAreToldAndTheTaskStays() {
        start()
        val (task, prompt, answer) = Fixtures.answers("zoo").first()
        pick(task)
        assertEquals(Mixing.OWN_ROWS, state.bundle!!.mixing)
        assertFalse(state.canMix)
        val other = state.bundle!!.tasks.last()
        presenter.add(other)
        await("the refusal") { it.work == Work.NONE }
        assertTold(Remedy.ONE_TASK, "$task, $other", "cannot be mixed: ")
        assertEquals(mapOf(task to 1f), state.weights)
        send(prompt)
        assertEquals(answer, state.answer)
    }

    @Test
    fun whatABundleCannotDoIsNotOffered() {
        val able = { state.bundle!!.run { listOf(mixing, hasBase, hasWeights) } }
        opened("methods")
        assertEquals(listOf(Mixing.OWN_PROGRAMS, false, false), able())
        opened("classifiers")
        assertEquals(listOf(Mixing.OWN_HEADS, false, true), able())
        pick("mood")
        presenter.weigh("mood", 0f) // which would be the base
        assertEquals(mapOf("mood" to 1f), state.weights)
        opened("portable")
        assertEquals(listOf(Mixing.ALLOWED, true, true), able())
        pick("alpha")
        presenter.choose(Picker.OTHERS)
        assertEquals(listOf("beta", "gamma"), state.found)
        for (task in state.found) {
            assertTrue(state.canMix)
            presenter.add(task)
            await("the switch") { it.work == Work.NONE }
        }
        assertFalse("all are mixed", state.canMix)
    }

    @Test
    fun aPackThatIsDamagedLaterIsToldAndOtherTasksGoOn() {
        val copy = Fixtures.copied("slow", pushed)
        presenter.open(Stored(copy, true))
        awaitRest()
        Fixtures.flip(File(copy, "packs/second.pack"))
        presenter.pick("second")
        await("the refusal") { it.work == Work.NONE }
        assertTold(Remedy.OTHER_TASK, "second", "second.pack is damaged")
        assertNull(state.weights)
        val good = Fixtures.answers("slow").first()
        ask(good.task, good.prompt)
        assertEquals(good.answer, state.answer)
        assertNull(state.problem)
    }

    @Test
    fun wrongTasksAndPromptsAreTold() {
        start()
        presenter.pick("delta")
        await("the refusal") { it.work == Work.NONE }
        assertTold(Remedy.OTHER_TASK, "delta", "no task 'delta'; there are: ")
        ask(state.bundle!!.tasks.first(), "x".repeat(10_000))
        assertTold(Remedy.OTHER_PROMPT, "zoo", "tokens, expected at most")
        assertEquals("", state.answer)
        presenter.type("")
        assertFalse(state.canRun)
    }
}
