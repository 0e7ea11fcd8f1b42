package io.hydraopt

/** Classes of Unicode characters, as regular expressions of tokenizers name them. */
internal object Characters {
    /** `\p{L}`. */
    fun isLetter(code: Int): Boolean = 1 shl Character.getType(code) and LETTERS != 0

    /** `\p{N}`. */
    fun isNumber(code: Int): Boolean = 1 shl Character.getType(code) and NUMBERS != 0

    /** `\p{M}`. */
    fun isMark(code: Int): Boolean = 1 shl Character.getType(code) and MARKS != 0

    /** `\w`. */
    fun isWord(code: Int): Boolean = code == '_'.code || code == ZWNJ || code == ZWJ ||
        Character.isAlphabetic(code) || 1 shl Character.getType(code) and WORDS != 0

    /** Unicode's punctuation, and all signs of ASCII. */
    fun isPunctuation(code: Int): Boolean = when {
        code < 0x80 -> code in 0x21..0x2f || code in 0x3a..0x40 || code in 0x5b..0x60 ||
            code in 0x7b..0x7e
        else -> 1 shl Character.getType(code) and PUNCTUATION != 0
    }

    /** Control and format characters, and those of private use. */
    fun isControl(code: Int): Boolean = 1 shl Character.getType(code) and CONTROLS != 0

    /** `\s`: Unicode's White_Space. */
    fun isSpace(code: Int): Boolean =
        code in 0x09..0x0d ||
            code == 0x20 ||
            code == 0x85 ||
            (code >= 0xa0 && 1 shl Character.getType(code) and SEPARATORS != 0)

    /** Characters that Python's `str.strip` removes: [isSpace] and four separators. */
    fun isPythonSpace(char: Char): Boolean = isSpace(char.code) || char in '\u001c'..'\u001f'

    private const val LETTERS = (1 shl Character.UPPERCASE_LETTER.toInt()) or
        (1 shl Character.LOWERCASE_LETTER.toInt()) or (1 shl Character.TITLECASE_LETTER.toInt()) or
        (1 shl Character.MODIFIER_LETTER.toInt()) or (1 shl Character.OTHER_LETTER.toInt())
    private const val NUMBERS = (1 shl Character.DECIMAL_DIGIT_NUMBER.toInt()) or
        (1 shl Character.LETTER_NUMBER.toInt()) or (1 shl Character.OTHER_NUMBER.toInt())
    private const val MARKS = (1 shl Character.NON_SPACING_MARK.toInt()) or
        (1 shl Character.ENCLOSING_MARK.toInt()) or (1 shl Character.COMBINING_SPACING_MARK.toInt())
    private const val WORDS = MARKS or (1 shl Character.DECIMAL_DIGIT_NUMBER.toInt()) or
        (1 shl Character.CONNECTOR_PUNCTUATION.toInt())
    private const val PUNCTUATION = (1 shl Character.CONNECTOR_PUNCTUATION.toInt()) or
        (1 shl Character.DASH_PUNCTUATION.toInt()) or (1 shl Character.START_PUNCTUATION.toInt()) or
        (1 shl Character.END_PUNCTUATION.toInt()) or
        (1 shl Character.INITIAL_QUOTE_PUNCTUATION.toInt()) or
        (1 shl Character.FINAL_QUOTE_PUNCTUATION.toInt()) or
        (1 shl Character.OTHER_PUNCTUATION.toInt())
    private const val CONTROLS = (1 shl Character.CONTROL.toInt()) or
        (1 shl Character.FORMAT.toInt()) or (1 shl Character.PRIVATE_USE.toInt())
    private const val ZWNJ = 0x200c
    private const val ZWJ = 0x200d
    private const val SEPARATORS = (1 shl Character.SPACE_SEPARATOR.toInt()) or
        (1 shl Character.LINE_SEPARATOR.toInt()) or (1 shl Character.PARAGRAPH_SEPARATOR.toInt())
}
