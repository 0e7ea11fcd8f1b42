package io.hydraopt

import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException

/**
 * A small strict JSON reader. The platform's `org.json` accepts invalid JSON, and differs outside
 * Android.
 *
 * Objects become maps in the file's order, arrays lists, whole numbers `Long`, others `Double`.
 */
internal class Json private constructor(private val text: String) {
    private var at = 0
    private var depth = 0

    private fun document(): Any? {
        val value = value()
        skipSpace()
        if (at < text.length) fail("text after the end")
        return value
    }

    private fun value(): Any? {
        skipSpace()
        return when (val char = peek()) {
            '{' -> nested(::members)
            '[' -> nested(::elements)
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> if (char == '-' || char in '0'..'9') number() else fail("unexpected '$char'")
        }
    }

    private fun <T> nested(read: () -> T): T {
        if (++depth > MAX_DEPTH) fail("more than $MAX_DEPTH levels")
        at++
        return read().also { depth-- }
    }

    private fun members(): Map<String, Any?> {
        val found = LinkedHashMap<String, Any?>()
        each('}') {
            if (peek() != '"') fail("expected a name")
            val name = string()
            skipSpace()
            expect(':')
            found[name] = value()
        }
        return found
    }

    private fun elements(): List<Any?> = ArrayList<Any?>().also { each(']') { it.add(value()) } }

    /** Reads comma-separated items up to [end]. */
    private inline fun each(end: Char, read: () -> Unit) {
        skipSpace()
        if (peek() == end) {
            at++
            return
        }
        while (true) {
            skipSpace()
            read()
            skipSpace()
            if (peek() == end) break
            expect(',')
        }
        at++
    }

    private fun string(): String {
        val start = ++at
        while (at < text.length && text[at] != '"' && text[at] != '\\' && text[at] >= ' ') at++
        if (peek() == '"') return text.substring(start, at++)
        val found = StringBuilder(text.substring(start, at))
        while (true) {
            val char = peek()
            at++
            when {
                char == '"' -> return whole("$found")
                char == '\\' -> found.append(escaped())
                char < ' ' -> fail("a control character in a string")
                else -> found.append(char)
            }
        }
    }

    private fun escaped(): Char {
        val char = peek()
        at++
        return when (char) {
            '"', '\\', '/' -> char
            'b' -> '\b'
            'f' -> '\u000c'
            'n' -> '\n'
            'r' -> '\r'
            't' -> '\t'
            'u' -> code()
            else -> fail("an unknown escape")
        }
    }

    private fun code(): Char {
        var code = 0
        repeat(4) {
            val digit = HEX.indexOf(peek(), ignoreCase = true)
            if (digit < 0) fail("an escape without four digits")
            code = 16 * code + digit
            at++
        }
        return code.toChar()
    }

    private fun whole(found: String): String {
        if (Utf8.loneSurrogate(found) >= 0) fail("a lone surrogate, which is not valid text,")
        return found
    }

    private fun number(): Any {
        val start = at
        if (peek() == '-') at++
        val whole = at
        digits()
        if (text[whole] == '0' && at > whole + 1) fail("a number with a leading zero")
        if (at < text.length && text[at] == '.') {
            at++
            digits()
        }
        if (at < text.length && (text[at] == 'e' || text[at] == 'E')) {
            at++
            if (peek() == '+' || peek() == '-') at++
            digits()
        }
        val number = text.substring(start, at)
        return number.toLongOrNull() ?: number.toDouble()
    }

    private fun digits() {
        val start = at
        while (at < text.length && text[at] in '0'..'9') at++
        if (at == start) fail("expected a digit")
    }

    private fun <T> word(word: String, value: T): T {
        if (!text.startsWith(word, at)) fail("an unknown word")
        at += word.length
        return value
    }

    private fun expect(char: Char) {
        if (peek() != char) fail("expected '$char'")
        at++
    }

    private fun peek(): Char = if (at < text.length) text[at] else fail("it ends too early")

    private fun skipSpace() {
        while (at < text.length && text[at] in SPACE) at++
    }

    private fun fail(what: String): Nothing = throw FormatException(
        "no JSON: $what at character $at"
    )

    companion object {
        private const val MAX_DEPTH = 64
        private const val SPACE = " \t\n\r"
        private const val HEX = "0123456789abcdef"

        /** Parses a whole document. Throws [FormatException]. */
        fun parse(text: String): Any? = Json(text).document()

        /** Parses a whole document in UTF-8. Throws [FormatException]. */
        fun parse(content: ByteArray): Any? =
            try {
                // a new decoder refuses what is malformed, where String puts U+FFFD
                parse("${Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(content))}")
            } catch (_: CharacterCodingException) {
                throw FormatException("not UTF-8")
            }
    }
}
