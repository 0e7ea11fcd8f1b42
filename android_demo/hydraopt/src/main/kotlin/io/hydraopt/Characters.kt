package io.hydraopt

/** Classes of Unicode characters, as regular expressions of tokenizers name them. */
internal object Characters {
    /** `\p{L}`. */
    fun isLetter(code: Int): Boolean = 1 shl Character.getType(code) and LETTERS != 0

    /** `\p{N}`. */
    fun isNumber(code: Int): Boolean = 1 shl Character.getType(code) and NUMBERS != 0

    /** `\p{M}`. */
    fun isMark(code: Int): Boolean = 1 shl Character.getType(code) and MARKS != 0

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
    private const val SEPARATORS = (1 shl Character.SPACE_SEPARATOR.toInt()) or
        (1 shl Character.LINE_SEPARATOR.toInt()) or (1 shl Character.PARAGRAPH_SEPARATOR.toInt())
}
