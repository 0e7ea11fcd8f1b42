package io.hydraopt.tokenizer

/**
 * What a reader takes for one character, as [UAX 29](https://unicode.org/reports/tr29/) has it,
 * as far as it is shorter than six bytes: Hangul syllables, flags, emoji sequences and Indic
 * conjuncts are longer, and end here after a part of them.
 */
internal object Graphemes {
    /** Where that ends which starts at [start] of [text]. */
    fun end(text: String, start: Int): Int {
        var code = text.codePointAt(start)
        var end = start + Character.charCount(code)
        if (code == '\r'.code && end < text.length && text[end] == '\n') return end + 1
        while (isPrepended(code) && end < text.length) {
            val next = text.codePointAt(end)
            if (isControl(next)) return end
            code = next
            end += Character.charCount(code)
        }
        if (isControl(code)) return end
        while (end < text.length) {
            val next = text.codePointAt(end)
            if (!isAppended(next)) break
            end += Character.charCount(next)
        }
        return end
    }

    private fun isControl(code: Int): Boolean = when (Character.getType(code).toByte()) {
        Character.CONTROL, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR -> true
        Character.FORMAT -> !isPrepended(code) && !isAppended(code)
        else -> false
    }

    /** Marks, joiners, and what is written like one. */
    private fun isAppended(code: Int): Boolean = when (Character.getType(code).toByte()) {
        Character.NON_SPACING_MARK, Character.ENCLOSING_MARK -> true
        Character.COMBINING_SPACING_MARK -> STANDING.none { code in it }
        Character.FORMAT -> code == 0x200c || code == 0x200d || code in 0xe0020..0xe007f
        else -> code == 0xe33 || code == 0xeb3 || code in 0xff9e..0xff9f || code in 0x1f3fb..0x1f3ff
    }

    private fun isPrepended(code: Int): Boolean = PREPENDED.any { code in it }

    private val STANDING = listOf(
        0x102b..0x102c, 0x1038..0x1038, 0x1062..0x1064, 0x1067..0x106d, 0x1083..0x1083,
        0x1087..0x108c, 0x108f..0x108f, 0x109a..0x109c, 0x1a61..0x1a61, 0x1a63..0x1a64,
        0xaa7b..0xaa7b, 0xaa7d..0xaa7d, 0x11720..0x11721
    )
    private val PREPENDED = listOf(
        0x600..0x605, 0x6dd..0x6dd, 0x70f..0x70f, 0x890..0x891, 0x8e2..0x8e2, 0xd4e..0xd4e,
        0x110bd..0x110bd, 0x110cd..0x110cd, 0x111c2..0x111c3, 0x1193f..0x1193f, 0x11941..0x11941,
        0x11a3a..0x11a3a, 0x11a84..0x11a89, 0x11d46..0x11d46
    )
}
