package io.hydraopt.tokenizer

import io.hydraopt.Characters

/**
 * The regular expressions of GPT-2's, Llama 3's and Qwen's tokenizers, by hand: regex engines of
 * devices differ in their Unicode classes, and are slow.
 *
 * @property pattern which one.
 */
internal class PatternSplitter(private val pattern: Pattern) : Splitter {
    /**
     * @property text as `tokenizer.json` has it.
     * @property digits most characters of a number.
     * @property marks whether marks belong to words.
     * @property gpt2 whether words take a space only, and lines end nothing.
     */
    enum class Pattern(
        val text: String,
        val digits: Int,
        val marks: Boolean = false,
        val gpt2: Boolean = false,
    ) {
        GPT2(
            "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
            digits = Int.MAX_VALUE,
            gpt2 = true,
        ),
        LLAMA3(expression("\\p{L}", "\\p{N}{1,3}", ""), digits = 3),
        QWEN2(expression("\\p{L}", "\\p{N}", ""), digits = 1),
        QWEN3_5(expression("[\\p{L}\\p{M}]", "\\p{N}", "\\p{M}"), digits = 1, marks = true),
    }

    override fun split(text: String, first: Boolean): List<String> {
        val parts = ArrayList<String>()
        var at = 0
        while (at < text.length) {
            val end = Scan(text, at).end()
            parts.add(text.substring(at, end))
            at = end
        }
        return parts
    }

    private inner class Scan(private val text: String, private val start: Int) {
        private val first = text.codePointAt(start)
        private val second = start + Character.charCount(first)

        /** Where the part that begins at [start] ends. */
        fun end(): Int {
            val contraction = contraction()
            if (contraction > 0) return start + contraction
            val afterSpace = if (first == ' '.code && second < text.length) second else start
            val wordStart = if (pattern.gpt2) afterSpace else afterPrefix()
            run(wordStart, ::isLetter).let { if (it > wordStart) return it }
            val numberStart = if (pattern.gpt2) afterSpace else start
            number(numberStart).let { if (it > numberStart) return it }
            val otherEnd = run(afterSpace, ::isOther)
            if (otherEnd == afterSpace) return space()
            return if (pattern.gpt2) otherEnd else run(otherEnd, ::isLine)
        }

        private fun contraction(): Int {
            if (first != '\''.code || second >= text.length) return 0
            val letter = fold(text[second])
            val two = if (second + 1 < text.length) "$letter${fold(text[second + 1])}" else ""
            return when {
                two in setOf("re", "ve", "ll") -> 3
                letter in "stmd" -> 2
                else -> 0
            }
        }

        // ſ is an s where case does not matter
        private fun fold(char: Char): Char = when {
            pattern.gpt2 -> char
            char == 'ſ' -> 's'
            char in 'A'..'Z' -> char + ('a' - 'A')
            else -> char
        }

        /** A word may start with one character that is not a letter, number or line end. */
        private fun afterPrefix(): Int {
            val inWord = Characters.isLetter(first) || Characters.isNumber(first) || isLine(first)
            val leads = !inWord && second < text.length && isLetter(text.codePointAt(second))
            return if (leads) second else start
        }

        private fun number(from: Int): Int {
            var at = from
            var count = 0
            while (at < text.length && count < pattern.digits) {
                val code = text.codePointAt(at)
                if (!Characters.isNumber(code)) break
                at += Character.charCount(code)
                count++
            }
            return at
        }

        /** White space: up to its last line end, or without the last character before a word. */
        private fun space(): Int {
            val end = run(start, Characters::isSpace)
            if (!pattern.gpt2) {
                for (at in end - 1 downTo start) if (isLine(text[at].code)) return at + 1
            }
            return if (end == text.length || end == start + 1) end else end - 1
        }

        private inline fun run(from: Int, belongs: (Int) -> Boolean): Int {
            var at = from
            while (at < text.length) {
                val code = text.codePointAt(at)
                if (!belongs(code)) break
                at += Character.charCount(code)
            }
            return at
        }

        private fun isLetter(code: Int) =
            Characters.isLetter(code) || (pattern.marks && Characters.isMark(code))

        private fun isOther(code: Int) =
            !Characters.isSpace(code) && !isLetter(code) && !Characters.isNumber(code)

        private fun isLine(code: Int) = code == '\n'.code || code == '\r'.code
    }

    companion object {
        private fun expression(letters: String, number: String, mark: String) =
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?$letters+|$number| " +
                "?[^\\s\\p{L}$mark\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    }
}
