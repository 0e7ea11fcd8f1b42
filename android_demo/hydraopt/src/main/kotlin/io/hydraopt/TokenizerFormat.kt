package io.hydraopt

/** `tokenizer.json` of byte-level BPE; a [FormatException] tells what is of another kind. */
internal object TokenizerFormat {
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
            tokens = ids.entries.associate { it.value to it.key } + added.associate { it.id to it.content },
            special = added.filter { it.special }.mapTo(HashSet()) { it.id },
            raw = AddedTokens(added.filterNot { it.normalized }.associate { it.content to it.id }),
            normalized = AddedTokens(added.filter { it.normalized }.associate { it.content to it.id }),
            nfc = steps(fields, "normalizer", "normalizers").onEach(::checkNfc).isNotEmpty(),
            prefixSpace = prefixSpace(steps),
            splitters = splitters(steps),
            before = template.first,
            after = template.second,
        )
    }

    private class Added(fields: Fields) {
        val id = fields.int("id")
        val content = fields.string("content").ifEmpty { refuse("an added token", "empty", "a text") }
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
        if (model.optional("byte_fallback") == true) refuse("the model", "BPE of characters", "BPE of bytes")
        for (name in listOf("unk_token", "dropout", "continuing_subword_prefix", "end_of_word_suffix")) {
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
        val parts = if (merge is String) merge.split(' ') else (merge as? List<*>)?.map { it as? String ?: "" }
        return parts?.takeIf { it.size == 2 } ?: throw FormatException("a merge is no pair")
    }

    /** The parts of a `Sequence`, or the one part, or none. */
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
        if (steps.lastOrNull()?.string("type") != "ByteLevel") {
            refuse("the pre-tokenizer", steps.joinToString(" and ") { it.string("type") }, "ByteLevel, or others before it")
        }
        return steps.map {
            when (val type = it.string("type")) {
                "ByteLevel" -> if (it.optional("use_regex") == false) whole else PatternSplitter(PatternSplitter.Pattern.GPT2)
                "Digits" -> DigitSplitter(it.boolean("individual_digits"))
                "Split" -> PatternSplitter(pattern(it))
                else -> refuse("a pre-tokenizer", type, "ByteLevel, Digits or Split")
            }
        }
    }

    private fun pattern(split: Fields): PatternSplitter.Pattern {
        val behavior = split.string("behavior")
        // every character is part of a match, so that there is nothing to remove or to join
        if (behavior != "Isolated" || split.boolean("invert")) refuse("Split", behavior, "Isolated")
        val text = split.fields("pattern").optional("Regex")
        return PatternSplitter.Pattern.values().firstOrNull { it.text == text }
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
            "RobertaProcessing", "BertProcessing" -> Pair(intArrayOf(second(step, "cls")), intArrayOf(second(step, "sep")))
            else -> refuse("the post-processor", type, "TemplateProcessing")
        }
    }

    private fun second(step: Fields, name: String): Int =
        (step.list(name).getOrNull(1) as? Long)?.toInt() ?: throw FormatException("$name has no id")

    private fun single(step: Fields): Pair<IntArray, IntArray> {
        val known = step.fields("special_tokens")
        val items = step.list("single").map { Fields("an item of the template", it) }
        val text = items.indexOfFirst { "Sequence" in it.names }
        if (text < 0 || items.count { "Sequence" in it.names } > 1) refuse("the template", "no single text", "one")
        val ids = items.map { item ->
            item.fieldsOrNull("SpecialToken")?.let { known.fields(it.string("id")).ints("ids") } ?: listOf()
        }
        return Pair(ids.take(text).flatten().toIntArray(), ids.drop(text).flatten().toIntArray())
    }

    private fun refuse(what: String, found: String, expected: String): Nothing {
        throw FormatException("$what is $found, expected $expected: only byte-level BPE is read")
    }
}
