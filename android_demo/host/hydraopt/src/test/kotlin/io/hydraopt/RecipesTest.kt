package io.hydraopt

import kotlin.math.sqrt
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.BeforeClass
import org.junit.Test

/** Bundles of recipes, quantised as users export them, compute what Python's session computes. */
class RecipesTest {
    private fun TaskSession.computed(case: Fields): FloatArray = when (bundle.manifest.model) {
        is Model.CausalLm -> {
            assertEquals(case.ints("given"), encode("Hi", chat = true).toList())
            forward(case.ints("given").toIntArray())
        }
        is Model.Encoder -> run(case.ints("given").toIntArray()).values
        is Model.Image -> run(Fixtures.floats(case, "given")).values
    }

    private fun length(values: FloatArray) = sqrt(values.sumOf { it.toDouble() * it })

    @Test
    fun aFamilyOfEachKindOfModel() {
        val kinds = FAMILIES.map { family ->
            TaskSession.open(Fixtures.file("recipe-$family")).use { session ->
                for (case in Fixtures.records("recipe-$family-runs.json")) {
                    session.switchTo(case.string("task"))
                    val expected = Fixtures.floats(case, "values")
                    val found = session.computed(case)
                    assertEquals(family, expected.size, found.size)
                    val error = length(FloatArray(found.size) { found[it] - expected[it] })
                    // rounding of activations to 8 bits may fall either way
                    assertTrue("$family: $error", error < 0.02 * length(expected))
                }
                session.bundle.manifest.model.kind
            }
        }
        assertEquals(listOf("causal_lm", "encoder", "image"), kinds)
    }

    companion object {
        private val FAMILIES = listOf("gemma3", "bert", "vit")

        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}
