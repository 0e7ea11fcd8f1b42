package io.hydraopt.tokenizer

import io.hydraopt.Characters
import io.hydraopt.Fields
import io.hydraopt.tokenizer.PatternSplitter.Pattern

/** The pre-tokenizer of a `tokenizer.json`: how a text is split before tokens are formed. */
internal object SplitterFormat {
    private val KNOWN = "ByteLevel, Digits, Split, Metaspace, BertPreTokenizer or WhitespaceSplit"
    private val spaces = CharacterSplitter(Behavior.REMOVED, Characters::isSpace)

    /** Whether words are bytes, which the last step says. */
    fun inBytes(steps: List<Fields>): Boolean {
        val types = steps.map { it.string("type") }
        if ("ByteLevel" in types.dropLast(1)) {
            refuse("the pre-tokenizer", types.joinToString(" and "), "ByteLevel as the last")
        }
        return types.lastOrNull() == "ByteLevel"
    }

    fun splitter(step: Fields): Splitter {
        val splitter = when (val type = step.string("type")) {
            "ByteLevel" ->
                if (step.optional("use_regex") == false) whole else PatternSplitter(Pattern.GPT2)
            "Digits" -> if (step.boolean("individual_digits")) digits else numbers
            "Split" -> split(step)
            "Metaspace" -> return metaspace(step)
            "BertPreTokenizer" -> BertSplitter
            "WhitespaceSplit" -> spaces
            else -> refuse("a pre-tokenizer", type, KNOWN)
        }
        return if (step.optional("add_prefix_space") == true) SpaceFirst(splitter) else splitter
    }

    private val digits = CharacterSplitter(Behavior.ISOLATED, Characters::isNumber)

    private fun split(step: Fields): Splitter {
        if (step.boolean("invert")) refuse("Split", "inverted", "none such")
        val found = step.string("behavior")
        val pattern = step.fields("pattern")
        val text = pattern.optional("String") as? String
        if (text != null) return literal(text, found)
        // every character is part of a match, so that there is nothing to remove or to join
        if (found != "Isolated") refuse("Split", found, "Isolated")
        val regex = pattern.optional("Regex")
        return Pattern.values().firstOrNull { it.text == regex }?.let(::PatternSplitter)
            ?: refuse("Split", "the pattern $regex", "that of GPT-2, Llama 3 or Qwen")
    }

    private fun literal(text: String, found: String): Splitter {
        val behavior = when (found) {
            "Removed" -> Behavior.REMOVED
            "Isolated" -> Behavior.ISOLATED
            "MergedWithPrevious" -> Behavior.MERGED_WITH_PREVIOUS
            "MergedWithNext" -> Behavior.MERGED_WITH_NEXT
            else -> refuse("Split", found, "Removed, Isolated, MergedWithPrevious or …Next")
        }
        val code = single(text, "the pattern of Split").codePointAt(0)
        return CharacterSplitter(behavior) { it == code }
    }

    private fun metaspace(step: Fields): Splitter {
        val prepends = when (val scheme = step.string("prepend_scheme")) {
            "always" -> Metaspace.Prepends.ALWAYS
            "first" -> Metaspace.Prepends.FIRST
            "never" -> Metaspace.Prepends.NEVER
            else -> refuse("prepend_scheme", scheme, "always, first or never")
        }
        val mark = single(step.string("replacement"), "the replacement of Metaspace")
        return Metaspace(mark, prepends, step.optional("split") != false)
    }
}

/** A text of one character. */
internal fun single(text: String, what: String): String =
    text.takeIf { it.isNotEmpty() && it.codePointCount(0, it.length) == 1 }
        ?: refuse(what, "'$text'", "one character")
