package io.hydraopt

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** Tokens are drawn from what Python draws from. */
class SamplerTest {
    @Test
    fun probabilitiesAreThoseOfPython() {
        val cases = Fixtures.records("probabilities.json")
        assertTrue(cases.size > 90)
        for (case in cases) {
            val expected = Fixtures.floats(case, "probabilities")
            val found = Sampler.probabilities(Fixtures.floats(case, "logits"), options(case))
            compare("${options(case)}", expected.sorted(), found.sorted())
            // which of equally likely tokens the tail ends with, Python leaves open
            val logits = Fixtures.floats(case, "logits").toList()
            if (logits.distinct() == logits) {
                compare("${options(case)} in order", expected.toList(), found.toList())
            }
        }
    }

    private fun compare(where: String, expected: List<Float>, found: List<Double>) {
        for (token in expected.indices) {
            assertEquals("$where, $token", expected[token] == 0f, found[token] == 0.0)
            assertEquals("$where, $token", expected[token].toDouble(), found[token], 1e-5)
        }
    }

    private fun options(case: Fields) = Options(
        temperature = (case.any("temperature") as Double).toFloat(),
        topK = case.intOrNull("top_k"),
        topP = (case.any("top_p") as Double).toFloat()
    )

    @Test
    fun tokensComeAsOftenAsTheyShould() {
        val logits = floatArrayOf(0f, 1f, 2f, Float.NEGATIVE_INFINITY)
        val options = Options(temperature = 1f, seed = 3)
        val expected = Sampler.probabilities(logits, options)
        val sampler = Sampler(options)
        val counts = IntArray(4)
        repeat(20_000) { counts[sampler.next(logits)]++ }
        for (token in logits.indices) assertEquals(expected[token], counts[token] / 20_000.0, 0.015)
        assertEquals(0, counts[3])
    }

    @Test
    fun firstTokensOfNearSeedsDiffer() {
        val logits = FloatArray(100)
        val first = (0L until 50L).map {
            Sampler(Options(temperature = 1f, seed = it)).next(logits)
        }
        assertTrue(first.distinct().size > 25)
    }

    @Test
    fun greedyTakesTheFirstOfEquals() {
        assertEquals(1, Sampler(Options()).next(floatArrayOf(0f, 2f, 2f, 1f)))
        val cold = Options(temperature = 1e-38f, seed = 1)
        assertEquals(2, Sampler(cold).next(floatArrayOf(1f, 2f, 30f)))
    }
}
