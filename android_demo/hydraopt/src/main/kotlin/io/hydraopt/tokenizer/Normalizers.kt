package io.hydraopt.tokenizer

import io.hydraopt.Characters
import java.text.Normalizer

/** Changes a text before it is split. */
internal fun interface Normalizing {
    fun normalize(text: String): String
}

/** One of Unicode's normal forms. */
internal class NormalForm(private val form: Normalizer.Form) : Normalizing {
    override fun normalize(text: String): String = Normalizer.normalize(text, form)
}

/** Removes white space at the ends. */
internal class Stripped(private val left: Boolean, private val right: Boolean) : Normalizing {
    override fun normalize(text: String): String {
        val start = if (left) text.trimStart { Characters.isSpace(it.code) } else text
        return if (right) start.trimEnd { Characters.isSpace(it.code) } else start
    }
}

/** To lower case, character by character: a sigma at the end is one like all others. */
internal val lowercase = Normalizing { text ->
    mapped(text) { code ->
        if (code == DOTTED_I) append("i\u0307") else appendCodePoint(Character.toLowerCase(code))
    }
}

/** Without marks; [all] of them, or those that take no space. */
internal class WithoutMarks(private val all: Boolean) : Normalizing {
    override fun normalize(text: String): String = mapped(text) { code ->
        val goes = if (all) Characters.isMark(code) else isNonspacing(code)
        if (!goes) appendCodePoint(code)
    }

    private fun isNonspacing(code: Int) =
        Character.getType(code) == Character.NON_SPACING_MARK.toInt()
}

/** BERT's: without control characters, and with spaces for all white space. */
internal val cleaned = Normalizing { text ->
    mapped(text) { code ->
        val isSpace = code == '\t'.code || code == '\n'.code || code == '\r'.code
        when {
            isSpace -> append(' ')
            code == 0 || code == 0xfffd || Characters.isControl(code) -> {}
            Characters.isSpace(code) -> append(' ')
            else -> appendCodePoint(code)
        }
    }
}

/** BERT's: with spaces around ideographs. */
internal val spacedIdeographs = Normalizing { text ->
    mapped(text) { code ->
        if (IDEOGRAPHS.any { code in it }) append(' ').appendCodePoint(code).append(' ')
        else appendCodePoint(code)
    }
}

private const val DOTTED_I = 0x130
private val IDEOGRAPHS = listOf(
    0x3400..0x4dbf, 0x4e00..0x9fff, 0xf900..0xfaff, 0x20000..0x2a6df, 0x2a700..0x2b81f,
    0x2b920..0x2ceaf, 0x2f800..0x2fa1f
)

private inline fun mapped(text: String, change: StringBuilder.(Int) -> Unit): String {
    val found = StringBuilder(text.length)
    var at = 0
    while (at < text.length) {
        val code = text.codePointAt(at)
        found.change(code)
        at += Character.charCount(code)
    }
    return "$found"
}
