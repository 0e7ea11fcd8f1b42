package io.hydraopt.demo

import io.hydraopt.Output
import kotlin.math.exp
import kotlin.math.sqrt

/** One of a task's classes, by its number from 0 on: bundles have no names of classes. */
data class Label(val number: Int, val probability: Double)

/** What an encoder or an image model makes of its input. */
sealed interface Result {
    /** Classes of the whole input, the likeliest first. */
    data class Classes(val labels: List<Label>) : Result

    /** The likeliest class of every token, with the token's text. */
    data class Tokens(val tokens: List<Pair<String, Label>>) : Result

    /** Of a task with one class: a number. */
    data class Score(val value: Double) : Result

    /**
     * An embedding.
     *
     * @property length its Euclidean norm.
     * @property similarity its cosine with the embedding before; null without one.
     */
    data class Embedding(val size: Int, val length: Double, val similarity: Double?) : Result

    companion object {
        /** Of logits of a task's classes; a token without a text is left out, as it is special. */
        fun ofLogits(output: Output, tokens: List<String>): Result {
            val classes = output.shape.last()
            if (output.shape.size == 1 && classes == 1) return Score(output.values[0].toDouble())
            if (output.shape.size == 1) return Classes(labels(output.values))
            val labels = tokens.indices.map { tokens[it] to labels(output.row(it)).first() }
            return Tokens(labels.filter { it.first.isNotBlank() })
        }

        /** Of an embedding, and the one before. */
        fun ofEmbedding(values: FloatArray, before: FloatArray?): Result {
            val length = length(values)
            val similarity = before?.takeIf { it.size == values.size }?.let {
                val product = values.indices.sumOf { i -> values[i].toDouble() * it[i] }
                product / (length * length(it))
            }
            return Embedding(values.size, length, similarity)
        }

        private fun length(values: FloatArray) = sqrt(values.sumOf { it.toDouble() * it })

        /** Probabilities by softmax. */
        private fun labels(logits: FloatArray): List<Label> {
            val highest = logits.maxOrNull()!!
            val shares = logits.map { exp((it - highest).toDouble()) }
            val sum = shares.sum()
            return shares.mapIndexed { number, share -> Label(number, share / sum) }
                .sortedByDescending { it.probability }
        }
    }
}
