package io.hydraopt

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.BeforeClass
import org.junit.Test

/** Bundles of every form answer as Python's session does. */
class AnswersTest {
    private fun check(name: String, compare: (String, FloatArray, FloatArray) -> Unit) {
        val cases = Fixtures.records("$name-runs.json")
        assertTrue(cases.size > 1)
        TaskSession.open(Fixtures.file(name)).use { session ->
            assertEquals(session.tasks.toSet(), cases.map { it.string("task") }.toSet())
            for (case in cases) check(session, case, compare)
        }
    }

    private fun check(
        session: TaskSession,
        case: Fields,
        compare: (String, FloatArray, FloatArray) -> Unit
    ) {
        val where = "${case.string("task")}: ${case.string("prompt")}"
        val chat = case.boolean("chat")
        session.switchTo(case.string("task"))
        val ids = session.encode(case.string("prompt"), chat)
        assertEquals(where, case.ints("prompt_ids"), ids.toList())
        compare(where, Fixtures.floats(case, "logits"), session.forward(ids))
        assertEquals(where, ids.size, session.position)
        val pieces = ArrayList<String>()
        val answer = session.generate(case.string("prompt"), Options(chat = chat)) {
            pieces.add(it)
        }
        assertEquals(where, case.ints("ids"), answer.ids)
        assertEquals(where, case.string("text"), answer.text)
        assertEquals(where, answer.text, pieces.joinToString(""))
        assertEquals(where, ids.size, answer.promptTokens)
    }

    private fun near(where: String, expected: FloatArray, found: FloatArray) {
        assertArrayEquals(where, expected, found, 2e-3f)
    }

    @Test
    fun everyTaskOfTheZoo() = check("zoo", ::near)

    @Test
    fun promptsInPiecesAndChats() = check("pieces", ::near)

    @Test
    fun withoutOperatorsForLanguageModelsLogitsAreEqualToTheBit() =
        check("portable") { where, expected, found ->
            assertArrayEquals(where, expected, found, 0f)
        }

    @Test
    fun rowsInTheProgramOfAQuantisedBase() = check("quantised", ::assertNearlyEqual)

    @Test
    fun everyRecipeOfALanguageModel() {
        val names = Fixtures.recipes("causal_lm")
        assertEquals(6, names.size)
        for (name in names) check(name, ::assertNearlyEqual)
    }

    @Test
    fun oneMethodPerTask() = check("methods", ::near)

    @Test
    fun oneModelForAllTasks() = check("static", ::near)

    companion object {
        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}
