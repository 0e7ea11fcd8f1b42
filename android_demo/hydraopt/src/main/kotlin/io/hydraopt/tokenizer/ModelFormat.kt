package io.hydraopt.tokenizer

import io.hydraopt.Fields

/** The model of a `tokenizer.json`: BPE, WordPiece or Unigram. */
internal object ModelFormat {
    private val NOT_IN_BPE = listOf("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    private const val MOST_CHARACTERS = 100

    /** How words become tokens; [inBytes] if they are split as byte-level BPE has it. */
    fun words(model: ModelReader, inBytes: Boolean): Words {
        val type = model.fields.optional("type") ?: "BPE"
        if (inBytes && type != "BPE") refuse("the model of ByteLevel", "$type", "BPE")
        return when (type) {
            "BPE" -> Remembered(if (inBytes) byteLevel(model) else characters(model))
            "WordPiece" -> Remembered(wordPiece(model))
            "Unigram" -> Remembered(unigram(model))
            else -> refuse("the model", "$type", "BPE, WordPiece or Unigram")
        }
    }

    private fun byteLevel(model: ModelReader): Words {
        refuseIn(model.fields, NOT_IN_BPE + "unk_token")
        if (model.fields.optional("byte_fallback") == true) {
            refuse("the model of ByteLevel", "BPE of characters", "BPE of bytes")
        }
        val whole = model.fields.optional("ignore_merges") == true
        return Bpe(model.merges, ByteSymbols(model.vocabulary)) {
            if (whole) model.vocabulary[ByteLevel.written(it.toByteArray())] else -1
        }
    }

    private fun characters(model: ModelReader): Words {
        refuseIn(model.fields, NOT_IN_BPE)
        val symbols = CharacterSymbols(
            model.vocabulary,
            bytes(model),
            model.fields.optional("unk_token")?.let { token(model, "unk_token") } ?: -1,
            model.fields.optional("fuse_unk") == true
        )
        val whole = model.fields.optional("ignore_merges") == true
        return Bpe(model.merges, symbols) { if (whole) model.vocabulary[it] else -1 }
    }

    private fun refuseIn(fields: Fields, names: List<String>) {
        for (name in names) {
            val value = fields.optional(name)
            if (value != null && value != "") refuse(name, "$value", "none")
        }
    }

    private fun wordPiece(model: ModelReader) = WordPiece(
        model.vocabulary,
        model.fields.string("continuing_subword_prefix"),
        token(model, "unk_token"),
        model.fields.optional("max_input_chars_per_word")?.let {
            model.fields.int("max_input_chars_per_word")
        } ?: MOST_CHARACTERS
    )

    private fun unigram(model: ModelReader): Words {
        val unknown = model.fields.intOrNull("unk_id")
        if (unknown == null || model.vocabulary.text(unknown) == null) {
            refuse("unk_id", "$unknown", "a token of the vocabulary")
        }
        if (model.scores.isEmpty()) refuse("vocab", "without scores", "tokens with scores")
        return Unigram(model.vocabulary, model.scores, unknown, bytes(model))
    }

    private fun bytes(model: ModelReader): ByteTokens? =
        if (model.fields.optional("byte_fallback") == true) ByteTokens(model.vocabulary) else null

    private fun token(model: ModelReader, name: String): Int {
        val text = model.fields.string(name)
        return model.vocabulary[text].takeIf { it >= 0 }
            ?: refuse(name, text, "a token of the vocabulary")
    }
}
