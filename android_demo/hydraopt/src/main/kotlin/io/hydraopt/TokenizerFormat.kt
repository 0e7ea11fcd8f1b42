package io.hydraopt

import io.hydraopt.PatternSplitter.Pattern

/** `tokenizer.json` of byte-level BPE; throws [FormatException] for any other type. */
internal object TokenizerFormat {
    private val NOT_IN_BYTES =
        listOf("unk_token", "dropout", "continuing_subword_prefix", "end_of_word_suffix")

    /** Reads a whole `tokenizer.json`. */
    fun read(fields: Fields): Tokenizer.Parts {
        for (cut in listOf("truncation", "padding")) {
            if (fields.optional(cut) != null) refuse(cut, "its own rule", "none")
        }
        val model = fields.fields("model")
        val ids = vocabulary(model)
        val added = fields.list("added_tokens").map { Added(Fields("an added token", it)) }
        val steps = steps(fields, "pre_tokenizer", "pretokenizers")
        val template = template(steps(fields, "post_processor", "processors"))
        decoder(fields.fieldsOrNull("decoder"))
        return Tokenizer.Parts(
            bpe = Bpe(ids, merges(model, ids), model.optional("ignore_merges") == true),
            tokens = ids.entries.associate { (token, id) -> id to token } + byId(added),
            special = byId(added.filter { it.special }).keys,
            raw = AddedTokens(added.filterNot { it.normalized }.map { it.content to it.id }),
            normalized = AddedTokens(added.filter { it.normalized }.map { it.content to it.id }),
            nfc = steps(fields, "normalizer", "normalizers").onEach(::checkNfc).isNotEmpty(),
            prefixSpace = prefixSpace(steps),
            splitters = splitters(steps),
            before = template.first,
            after = template.second,
        )
    }

    private fun byId(added: List<Added>) = added.associate { it.id to it.content }

    private class Added(fields: Fields) {
        val id = fields.int("id")
        val content = fields.string("content").ifEmpty { refuse("a token", "empty", "a text") }
        val special = fields.boolean("special")
        val normalized = fields.boolean("normalized")

        init {
            for (rule in listOf("single_word", "lstrip", "rstrip")) {
                if (fields.boolean(rule)) refuse("the added token $content", rule, "none such rule")
            }
        }
    }

    private fun vocabulary(model: Fields): Map<String, Int> {
        val type = model.optional("type") ?: "BPE"
        if (type != "BPE") refuse("the model", "$type", "BPE")
        if (model.optional("byte_fallback") == true) {
            refuse("the model", "BPE of characters", "BPE of bytes")
        }
        for (name in NOT_IN_BYTES) {
            val value = model.optional(name)
            if (value != null && value != "") refuse(name, "$value", "none")
        }
        return model.map("vocab") { int(it) }
    }

    private fun merges(model: Fields, ids: Map<String, Int>): PairTable {
        val merges = model.list("merges")
        val table = PairTable(merges.size)
        for ((rank, merge) in merges.withIndex()) {
            val (left, right) = pair(merge)
            val joined = ids[left + right] ?: throw FormatException("merge $rank makes no token")
            val leftId = ids[left] ?: throw FormatException("merge $rank is of no token")
            val rightId = ids[right] ?: throw FormatException("merge $rank is of no token")
            table[leftId, rightId] = (rank.toLong() shl 32) or joined.toLong()
        }
        return table
    }

    private fun pair(merge: Any?): List<String> {
        val parts = if (merge is String) merge.split(' ') else merge as? List<*>
        val texts = parts?.filterIsInstance<String>()
        return texts?.takeIf { it.size == 2 } ?: throw FormatException("a merge is not a pair")
    }

    /** The parts of a `Sequence`, or the single part, or none. */
    private fun steps(fields: Fields, name: String, inner: String): List<Fields> {
        val step = fields.fieldsOrNull(name) ?: return listOf()
        if (step.string("type") != "Sequence") return listOf(step)
        return step.list(inner).map { Fields("a part of $name", it) }
    }

    private fun checkNfc(step: Fields) {
        val type = step.string("type")
        if (type != "NFC") refuse("the normalizer", type, "NFC or none")
    }

    private fun prefixSpace(steps: List<Fields>): Boolean {
        val adds = steps.map { it.optional("add_prefix_space") == true }
        if (adds.drop(1).any { it }) refuse("a later pre-tokenizer", "add_prefix_space", "none")
        return adds.firstOrNull() ?: false
    }

    private fun splitters(steps: List<Fields>): List<Splitter> {
        val types = steps.map { it.string("type") }
        if (types.lastOrNull() != "ByteLevel") {
            refuse("the pre-tokenizer", types.joinToString(" and "), "ByteLevel as the last")
        }
        return steps.map {
            when (val type = it.string("type")) {
                "ByteLevel" ->
                    if (it.optional("use_regex") == false) whole else PatternSplitter(Pattern.GPT2)
                "Digits" -> DigitSplitter(it.boolean("individual_digits"))
                "Split" -> PatternSplitter(pattern(it))
                else -> refuse("a pre-tokenizer", type, "ByteLevel, Digits or Split")
            }
        }
    }

    private fun pattern(split: Fields): Pattern {
        val behavior = split.string("behavior")
        // every character is part of a match, so that there is nothing to remove or to join
        if (behavior != "Isolated" || split.boolean("invert")) refuse("Split", behavior, "Isolated")
        val text = split.fields("pattern").optional("Regex")
        return Pattern.values().firstOrNull { it.text == text }
            ?: refuse("Split", "the pattern $text", "that of GPT-2, Llama 3 or Qwen")
    }

    private fun decoder(decoder: Fields?) {
        val type = decoder?.string("type")
        if (type != "ByteLevel") refuse("the decoder", "$type", "ByteLevel")
    }

    /** Ids before and after a text. */
    private fun template(steps: List<Fields>): Pair<IntArray, IntArray> {
        val adding = steps.filter { it.string("type") != "ByteLevel" }
        if (adding.size > 1) refuse("the post-processor", "${adding.size} that add tokens", "one")
        val step = adding.firstOrNull() ?: return Pair(intArrayOf(), intArrayOf())
        return when (val type = step.string("type")) {
            "TemplateProcessing" -> single(step)
            "RobertaProcessing", "BertProcessing" -> Pair(second(step, "cls"), second(step, "sep"))
            else -> refuse("the post-processor", type, "TemplateProcessing")
        }
    }

    private fun second(step: Fields, name: String): IntArray {
        val id = step.list(name).getOrNull(1) as? Long ?: throw FormatException("$name has no id")
        return intArrayOf(id.toInt())
    }

    private fun single(step: Fields): Pair<IntArray, IntArray> {
        val known = step.fields("special_tokens")
        val items = step.list("single").map { Fields("an item of the template", it) }
        val texts = items.count { "Sequence" in it.names }
        if (texts != 1) refuse("the template", "of $texts texts", "of one")
        val place = items.indexOfFirst { "Sequence" in it.names }
        return Pair(ids(items.take(place), known), ids(items.drop(place + 1), known))
    }

    private fun ids(items: List<Fields>, known: Fields): IntArray = items.flatMap {
        known.fields(it.fields("SpecialToken").string("id")).ints("ids")
    }.toIntArray()

    private fun refuse(what: String, found: String, expected: String): Nothing {
        throw FormatException("$what is $found, expected $expected: only byte-level BPE is read")
    }
}
