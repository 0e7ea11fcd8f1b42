package io.hydraopt.tokenizer

import io.hydraopt.Characters

/** Splits a text into the parts within which tokens are formed. */
internal fun interface Splitter {
    /** The parts of [text], none of which is empty; [first] if a whole text starts with it. */
    fun split(text: String, first: Boolean): List<String>
}

/** Does not split. */
internal val whole = Splitter { text, _ -> listOf(text).filter(String::isNotEmpty) }

/** What becomes of a character that splits. */
internal enum class Behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT }

/** Splits at characters. */
internal class CharacterSplitter(
    private val behavior: Behavior,
    private val isDelimiter: (Int) -> Boolean
) : Splitter {
    override fun split(text: String, first: Boolean): List<String> {
        val parts = ArrayList<String>()
        var start = 0
        var at = 0
        fun cut(end: Int) {
            if (end > start) parts.add(text.substring(start, end))
            start = end
        }
        while (at < text.length) {
            val code = text.codePointAt(at)
            val next = at + Character.charCount(code)
            if (isDelimiter(code)) {
                if (behavior != Behavior.MERGED_WITH_PREVIOUS) cut(at)
                if (behavior == Behavior.REMOVED) start = next
                if (behavior != Behavior.MERGED_WITH_NEXT) cut(next)
            }
            at = next
        }
        cut(text.length)
        return parts
    }
}

/** Splits off runs of numeric characters. */
internal val numbers = Splitter { text, _ ->
    val parts = ArrayList<String>()
    var start = 0
    var numeric = false
    var at = 0
    while (at < text.length) {
        val code = text.codePointAt(at)
        val isNumber = Characters.isNumber(code)
        if (at > start && isNumber != numeric) {
            parts.add(text.substring(start, at))
            start = at
        }
        numeric = isNumber
        at += Character.charCount(code)
    }
    if (start < text.length) parts.add(text.substring(start))
    parts
}

/** BERT's: splits at white space, which goes, and around punctuation. */
internal object BertSplitter : Splitter {
    private val spaces = CharacterSplitter(Behavior.REMOVED, Characters::isSpace)
    private val marks = CharacterSplitter(Behavior.ISOLATED, Characters::isPunctuation)

    override fun split(text: String, first: Boolean): List<String> =
        spaces.split(text, first).flatMap { marks.split(it, first = false) }
}

/**
 * SentencePiece's: spaces become [mark], which also comes before a text.
 *
 * @param prepends before which texts it comes.
 * @param splits whether a part begins at each.
 */
internal class Metaspace(
    private val mark: String,
    private val prepends: Prepends,
    splits: Boolean
) : Splitter {
    enum class Prepends { ALWAYS, FIRST, NEVER }

    private val splitter =
        if (splits) {
            CharacterSplitter(Behavior.MERGED_WITH_NEXT) { it == mark.codePointAt(0) }
        } else {
            whole
        }

    override fun split(text: String, first: Boolean): List<String> {
        val marked = text.replace(" ", mark)
        val prepend = prepends == Prepends.ALWAYS || (prepends == Prepends.FIRST && first)
        val start = if (prepend && !marked.startsWith(mark)) mark else ""
        return splitter.split(start + marked, first)
    }
}

/** Puts a space before a text that has none, then splits. */
internal class SpaceFirst(private val splitter: Splitter) : Splitter {
    override fun split(text: String, first: Boolean): List<String> =
        splitter.split(if (text.startsWith(' ')) text else " $text", first)
}
