package io.hydraopt

import kotlin.math.abs
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.BeforeClass
import org.junit.Test

/** The base, scaled tasks and mixtures answer as in Python; kept caches and rewound sequences. */
class MixtureTest {
    private fun check(name: String, tolerance: Float) {
        TaskSession.open(Fixtures.file(name)).use { session ->
            for (case in Fixtures.records("$name-mixtures.json")) check(session, case, tolerance)
        }
    }

    private fun check(session: TaskSession, case: Fields, tolerance: Float) {
        val weights = weights(case)
        val prompt = case.ints("prompt_ids").toIntArray()
        val kept = case.ints("kept")
        switch(session, weights, keepCache = false)
        assertEquals(weights, session.mixture)
        assertEquals(weights.keys.singleOrNull(), session.task)
        near(case, "logits", session.forward(prompt), tolerance)
        assertEquals("$weights", case.ints("ids"), session.generateIds(prompt).ids)
        session.switchToBase()
        session.forward(prompt)
        switch(session, weights, keepCache = true)
        assertEquals(prompt.size, session.position)
        near(case, "kept_logits", session.forward(kept.toIntArray()), tolerance)
        session.rewind(prompt.size)
        near(case, "kept_logits", session.forward(kept.toIntArray()), tolerance)
    }

    private fun weights(case: Fields): Map<String, Float> =
        case.map("weights") { (any(it) as Number).toFloat() }

    private fun switch(session: TaskSession, weights: Map<String, Float>, keepCache: Boolean) {
        val task = weights.keys.singleOrNull()
        when {
            weights.isEmpty() -> session.switchToBase(keepCache)
            task != null -> session.switchTo(task, weights.getValue(task), keepCache)
            else -> session.switchTo(weights, keepCache)
        }
    }

    private fun near(case: Fields, name: String, found: FloatArray, tolerance: Float) {
        val expected = Fixtures.floats(case, name)
        assertEquals(expected.size, found.size)
        val error = found.indices.maxOf { abs(expected[it] - found[it]) }
        assertTrue("${weights(case)}, $name: $error", error <= tolerance)
    }

    @Test
    fun withoutOperatorsForLanguageModelsLogitsAreEqualToTheBit() = check("portable", 0f)

    @Test
    fun rowsInTheProgramOfAQuantisedBase() = check("quantised", 0.02f)

    @Test
    fun wrongMixturesAreOneClearLineAndChangeNothing() {
        TaskSession.open(Fixtures.file("portable")).use { session ->
            session.switchTo("beta", scale = 0.5f)
            session.forward(intArrayOf(1, 2, 3))
            for ((weights, message) in listOf(
                mapOf("delta" to 0f) to "no task 'delta'; there are: alpha, beta, gamma",
                mapOf("alpha" to 17f) to "the weight of task 'alpha' is 17.0, expected -16 to 16",
                mapOf("alpha" to Float.NaN) to "the weight of task 'alpha' is NaN, expected -16",
                mapOf("alpha" to 0f) to "all weights are 0, which is the base",
                mapOf<String, Float>() to "all weights are 0, which is the base"
            )) {
                refuses<TaskException>(message) { session.switchTo(weights) }
            }
            for (position in listOf(-1, 4)) {
                val message = "cannot rewind to position $position: the KV cache has 3 tokens"
                refuses<TaskException>(message) { session.rewind(position) }
            }
            assertEquals(mapOf("beta" to 0.5f), session.mixture)
            assertEquals(3, session.position)
        }
    }

    @Test
    fun tasksWithRowsOfTheirOwnCannotBeMixedAndTheTaskStays() {
        TaskSession.open(Fixtures.file("zoo")).use { session ->
            session.switchTo("date-de")
            session.forward(intArrayOf(1, 2, 3))
            val expected = session.forward(intArrayOf(4)).copyOf()
            session.rewind(3)
            val weights = mapOf("date-en" to 0.5f, "date-de" to 0.5f)
            refuses<TaskException>("'date-en', 'date-de' cannot be mixed: ") {
                session.switchTo(weights)
            }
            assertEquals("date-de", session.task)
            assertEquals(3, session.position)
            assertEquals(expected.toList(), session.forward(intArrayOf(4)).toList())
        }
    }

    @Test
    fun bundlesWithoutInputsRunWholeTasksOnly() {
        for (name in listOf("methods", "static")) {
            TaskSession.open(Fixtures.file(name)).use { session ->
                val expected = "has swap '$name', expected 'inputs' for "
                refuses<TaskException>(expected + "the base without an adapter") {
                    session.switchToBase()
                }
                refuses<TaskException>(expected + "a weight or a mixture") {
                    session.switchTo("beta", scale = 0.5f)
                }
                refuses<TaskException>(expected + "a switch that keeps the KV cache") {
                    session.switchTo("beta", keepCache = true)
                }
                assertNull(session.task)
                session.switchTo("beta")
            }
        }
    }

    companion object {
        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}
