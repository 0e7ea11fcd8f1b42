package io.hydraopt

import kotlin.math.exp

/** Samples the next token of a text from logits. */
internal class Sampler(private val options: Options) {
    private val random = SplitMix64(options.seed ?: System.nanoTime())

    /** The next token. */
    fun next(logits: FloatArray): Int {
        if (options.temperature == 0f) return likeliest(logits)
        val chances = probabilities(logits, options)
        val total = chances.sum()
        if (total.isNaN()) return likeliest(logits) // so cold that logits overflow: the limit
        var left = random.nextDouble() * total
        var last = 0
        for (token in chances.indices) {
            if (chances[token] == 0.0) continue
            last = token
            left -= chances[token]
            if (left < 0) break
        }
        return last
    }

    companion object {
        /** The first most likely token. */
        fun likeliest(logits: FloatArray): Int {
            var best = 0
            for (token in logits.indices) if (logits[token] > logits[best]) best = token
            return best
        }

        /** The distribution to sample from, for a temperature above 0. */
        fun probabilities(logits: FloatArray, options: Options): DoubleArray {
            val scores = FloatArray(logits.size) { logits[it] / options.temperature }
            if (options.topK != null) keepTop(scores, options.topK)
            if (options.topP < 1) keepProbable(scores, options.topP)
            return softmax(scores)
        }

        private fun keepTop(scores: FloatArray, count: Int) {
            if (count >= scores.size) return
            val weakest = scores.sortedArray()[scores.size - count]
            for (token in scores.indices) {
                if (scores[token] < weakest) scores[token] = Float.NEGATIVE_INFINITY
            }
        }

        /** Drops the tail; among equal scores at its end, lower ids first. */
        private fun keepProbable(scores: FloatArray, share: Float) {
            val rising = scores.sortedArray()
            val chances = softmax(rising)
            var below = 0
            var sum = 0.0
            while (below < rising.size - 1) {
                sum += chances[below]
                if (!(sum <= 1.0 - share)) break
                below++
            }
            val weakest = rising[below]
            var ties = 0
            while (ties < below && rising[below - 1 - ties] == weakest) ties++
            for (token in scores.indices) {
                val tied = scores[token] == weakest && ties > 0
                if (tied) ties--
                if (tied || scores[token] < weakest) scores[token] = Float.NEGATIVE_INFINITY
            }
        }

        private fun softmax(scores: FloatArray): DoubleArray {
            val top = scores.maxOrNull() ?: 0f
            val powers = DoubleArray(scores.size) { exp((scores[it] - top).toDouble()) }
            val sum = powers.sum()
            for (token in powers.indices) powers[token] /= sum
            return powers
        }
    }
}

/** Random numbers: equal for equal seeds on every device, unrelated for similar seeds. */
internal class SplitMix64(private var state: Long) {
    fun nextDouble(): Double {
        state += -0x61c8864680b583ebL
        var mixed = state
        mixed = (mixed xor (mixed ushr 30)) * -0x40a7b892e31b1a47L
        mixed = (mixed xor (mixed ushr 27)) * -0x6b2fb644ecceee15L
        return ((mixed xor (mixed ushr 31)) ushr 11) * (1.0 / (1L shl 53))
    }
}
