package io.hydraopt.tokenizer

import java.util.UUID

/**
 * Special tokens of one more name and id each, which only the texts of a template are written with.
 *
 * A text in which special tokens are plain text but for some of them can thus be encoded at once,
 * as words may reach from a template's text into that of a turn.
 */
internal class Twins(parts: Pipeline.Parts) {
    private val mark = UUID.randomUUID().toString().replace("-", "") // no text can have it
    private val names = parts.special.map(parts.added::getValue).sortedByDescending { it.length }
        .joinToString("|", transform = Regex::escape).let { Regex(it.ifEmpty { "(?!)" }) }

    val raw = parts.raw.withTwins { twin(it, parts, listOf()) }
    val normalized = parts.normalized.withTwins { twin(it, parts, parts.normalizers) }

    private fun twin(token: AddedToken, parts: Pipeline.Parts, steps: List<Normalizing>): AddedToken? {
        if (token.id !in parts.special) return null
        val name = mark + parts.added.getValue(token.id)
        return token.copy(
            content = steps.fold(name) { text, step -> step.normalize(text) },
            id = -1 - token.id
        )
    }

    /** One text of a template's texts and those of turns, alternately. */
    fun joined(pieces: List<String>): String =
        pieces.mapIndexed { index, piece -> if (index % 2 == 0) marked(piece) else piece }
            .joinToString("")

    private fun marked(piece: String) = names.replace(piece) { mark + it.value }

    /** The id of the special token that a twin stands for, or [id] itself. */
    fun original(id: Int): Int = if (id < 0) -1 - id else id
}
