package io.hydraopt

/** Samples the tokens of one text from logits. Not thread-safe. */
internal class Sampler(private val options: Options) {
    private val random = SplitMix64(options.seed ?: System.nanoTime())
    private var candidates: Candidates? = null // used again for every token: no garbage

    /** The next token, for logits `[vocabulary]`. */
    fun next(logits: FloatArray): Int {
        if (options.temperature == 0f) return likeliest(logits)
        val candidates = candidates?.takeIf { it.vocabulary == logits.size }
            ?: Candidates(logits.size).also { candidates = it }
        val total = candidates.choose(logits, options)
        if (total.isNaN()) return likeliest(logits) // so cold that logits overflow: the limit
        return candidates.at(random.nextDouble() * total)
    }

    companion object {
        /** The first most likely token. */
        fun likeliest(logits: FloatArray): Int {
            var best = 0
            for (token in logits.indices) if (logits[token] > logits[best]) best = token
            return best
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
