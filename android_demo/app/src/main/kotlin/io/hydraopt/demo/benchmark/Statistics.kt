package io.hydraopt.demo.benchmark

import kotlin.math.floor

/** A metric and its number of threads. */
internal data class Key(val metric: String, val threads: Int)

/** Samples of every key, one list for each round. */
internal class Samples {
    private val rounds = LinkedHashMap<Key, ArrayList<List<Double>>>()
    val keys: Set<Key> get() = rounds.keys

    /** Adds the samples of one round. */
    fun add(threads: Int, round: Map<String, List<Double>>) {
        for ((metric, values) in round) {
            rounds.getOrPut(Key(metric, threads), ::ArrayList).add(values)
        }
    }

    /** The fields of a measurement: samples of all rounds, percentiles, each round's median. */
    fun statistics(key: Key): Map<String, Any> {
        val found = rounds.getValue(key)
        val all = found.flatten()
        return mapOf(
            "count" to all.size,
            "median" to percentile(all, 0.5),
            "p5" to percentile(all, 0.05),
            "p95" to percentile(all, 0.95),
            "round_medians" to found.map { percentile(it, 0.5) },
            "samples" to all.map { Math.round(it * 1e6) / 1e6 }
        )
    }
}

/** Interpolates linearly between samples. */
internal fun percentile(samples: List<Double>, share: Double): Double {
    val sorted = samples.sorted()
    val place = share * (sorted.size - 1)
    val below = floor(place).toInt()
    val above = minOf(below + 1, sorted.size - 1)
    return sorted[below] + (place - below) * (sorted[above] - sorted[below])
}
