package io.hydraopt

import java.lang.management.ManagementFactory
import java.util.Random
import kotlin.math.exp
import kotlin.math.round
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
            val found = probabilities(Fixtures.floats(case, "logits"), options(case))
            compare("${options(case)}", expected.sorted(), found.sorted())
            // which of equally likely tokens the tail ends with, Python leaves open
            val logits = Fixtures.floats(case, "logits").toList()
            if (logits.distinct() == logits) {
                compare("${options(case)} in order", expected.toList(), found.toList())
            }
        }
    }

    private fun probabilities(logits: FloatArray, options: Options): DoubleArray =
        Candidates(logits.size).apply { choose(logits, options) }.probabilities()

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
        val expected = probabilities(logits, options)
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

    private val settings = listOf(
        Options(temperature = 0.8f),
        Options(temperature = 1.7f, topK = 40),
        Options(temperature = 1f, topP = 0.9f),
        Options(temperature = 9f, topP = 0.97f), // of which thousands are in the share
        Options(temperature = 1f, topK = 500, topP = 0.8f),
        Options(temperature = 1f, topK = 1_000_000, topP = 0.5f)
    )

    /** Logits of a real shape: a few tokens are likely. With [ties], many are equally likely. */
    private fun logits(vocabulary: Int, seed: Long, ties: Boolean = false): FloatArray {
        val random = Random(seed)
        val drawn = FloatArray(vocabulary) { 3 * random.nextGaussian().toFloat() }
        return if (ties) FloatArray(vocabulary) { round(drawn[it]) } else drawn
    }

    @Test
    fun tokensAreThoseOfAWholeSort() {
        for (options in settings) {
            for (seed in 1L..60L) {
                val logits = logits(3000, seed, ties = seed % 2 == 0L)
                val seeded = options.copy(seed = seed)
                val found = Sampler(seeded)
                val point = SplitMix64(seed)
                repeat(5) {
                    val wanted = drawn(sorted(logits, options), point.nextDouble())
                    assertEquals("$seeded", wanted, found.next(logits))
                }
            }
        }
    }

    /** The same distribution, by sorting all tokens. */
    private fun sorted(logits: FloatArray, options: Options): DoubleArray {
        val scores = logits.map { it / options.temperature }
        val kept = scores.indices.sortedWith(compareBy({ scores[it] }, { it })).toMutableList()
        options.topK?.takeIf { it < kept.size }?.let { count ->
            val weakest = scores[kept[kept.size - count]]
            kept.removeAll { scores[it] < weakest }
        }
        fun chances(): Map<Int, Double> {
            val powers = kept.associateWith { exp((scores[it] - scores[kept.last()]).toDouble()) }
            val sum = powers.toSortedMap().values.sum()
            return powers.mapValues { it.value / sum }
        }
        if (options.topP < 1) {
            val chances = chances()
            var sum = 0.0
            kept.removeAll(
                kept.dropLast(1).takeWhile { token ->
                    sum += chances.getValue(token)
                    sum <= 1.0 - options.topP
                }.toSet()
            )
        }
        val chances = chances()
        return DoubleArray(logits.size) { chances[it] ?: 0.0 }
    }

    private fun drawn(chances: DoubleArray, point: Double): Int {
        var left = point * chances.sum()
        return chances.indices.filter { chances[it] != 0.0 }
            .let { all -> all.firstOrNull { left -= chances[it]; left < 0 } ?: all.last() }
    }

    @Test
    fun aTokenOfALargeVocabularyIsChosenWithoutSortingItAndWithoutGarbage() {
        val logits = logits(LARGE, seed = 1)
        val scratch = FloatArray(LARGE)
        val sort = fastest {
            logits.copyInto(scratch)
            scratch.sort()
        }
        for (options in settings) {
            val sampler = Sampler(options.copy(seed = 1))
            val garbage = allocated { sampler.next(logits) }
            val time = fastest { sampler.next(logits) }
            println("$options: ${time / 1000} µs of ${sort / 1000} µs for a sort, $garbage bytes")
            assertTrue("$options: $garbage bytes", garbage < LARGE)
            assertTrue("$options: $time of $sort ns", time < sort)
        }
    }

    /** Nanoseconds. */
    private fun fastest(body: () -> Unit): Long = (1..60).minOf {
        val start = System.nanoTime()
        body()
        System.nanoTime() - start
    }

    /** Bytes of a call that is not the first. */
    private fun allocated(body: () -> Unit): Long {
        val threads = ManagementFactory.getThreadMXBean() as com.sun.management.ThreadMXBean
        repeat(3) { body() }
        val before = threads.getThreadAllocatedBytes(Thread.currentThread().id)
        body()
        return threads.getThreadAllocatedBytes(Thread.currentThread().id) - before
    }

    @Test
    fun greedyTakesTheFirstOfEquals() {
        assertEquals(1, Sampler(Options()).next(floatArrayOf(0f, 2f, 2f, 1f)))
        val cold = Options(temperature = 1e-38f, seed = 1)
        assertEquals(2, Sampler(cold).next(floatArrayOf(1f, 2f, 30f)))
    }

    private companion object {
        const val LARGE = 152_000
    }
}
