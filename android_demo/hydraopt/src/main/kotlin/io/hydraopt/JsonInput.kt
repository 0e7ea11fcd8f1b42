package io.hydraopt

import java.io.ByteArrayInputStream
import java.io.InputStream
import kotlin.math.abs

/**
 * Reads JSON piece by piece, so that a large document is never in memory as a whole.
 *
 * Strict: what RFC 8259 does not allow, and bytes that are not UTF-8, throw [FormatException].
 */
internal class JsonInput(private val input: InputStream) {
    private val buffer = ByteArray(1 shl 14)
    private var at = 0
    private var end = 0
    private var before = 0L // bytes before those in the buffer
    private var depth = 0

    /** The UTF-8 of the string that was read last. */
    val text = Bytes()

    constructor(content: ByteArray) : this(ByteArrayInputStream(content))

    /** The next value: a map in the file's order, list, text, `Long`, `Double`, `Boolean`, null. */
    fun value(): Any? = when (val char = next()) {
        '{' -> LinkedHashMap<String, Any?>().also { found -> members { found[it] = value() } }
        '[' -> ArrayList<Any?>().also { found -> elements { found.add(value()) } }
        '"' -> string()
        't' -> word("true", true)
        'f' -> word("false", false)
        'n' -> word("null", null)
        else -> if (char == '-' || char in '0'..'9') number() else fail("unexpected '$char'")
    }

    /** Reads an object; [read] reads the value of each name. */
    fun members(read: (String) -> Unit) = names { read("$text") }

    /** The same, where [text] is each name. */
    fun names(read: () -> Unit) = each('{', '}') {
        utf8()
        expect(':')
        read()
    }

    /** Reads an array; [read] reads each value. */
    fun elements(read: () -> Unit) = each('[', ']', read)

    /** The first character of the next value. */
    fun next(): Char {
        while (peek() in SPACE) at++
        return peek()
    }

    /** Reads a string. */
    fun string(): String {
        utf8()
        return "$text"
    }

    /** Reads a string into [text], without an object of its own. */
    fun utf8() {
        text.clear()
        expect('"')
        while (true) {
            when (val char = peek()) {
                '"' -> break
                '\\' -> escaped()
                else -> if (char < ' ') fail("a control character in a string") else plain()
            }
        }
        at++
        if (!Utf8.isValid(text.bytes, text.size)) fail("not UTF-8")
    }

    /** Reads a whole number. */
    fun int(): Int {
        next()
        val number = number() as? Long ?: fail("expected a whole number")
        return if (number == number.toInt().toLong()) number.toInt() else fail("a number of 2^31")
    }

    /** Checks that nothing follows. */
    fun finish() {
        while (filled()) if (peek() in SPACE) at++ else fail("text after the end")
    }

    private fun each(start: Char, last: Char, read: () -> Unit) {
        expect(start)
        if (++depth > MAX_DEPTH) fail("more than $MAX_DEPTH levels")
        if (next() != last) {
            read()
            while (next() != last) {
                expect(',')
                read()
            }
        }
        at++
        depth--
    }

    /** Takes what needs no unescaping, up to the end of the buffer. */
    private fun plain() {
        val start = at
        while (at < end) {
            val byte = buffer[at].toInt()
            if (byte == QUOTE || byte == BACKSLASH || byte in 0 until ' '.code) break
            at++
        }
        text.add(buffer, start, at)
    }

    private fun escaped() {
        at++
        val char = peek()
        at++
        when (char) {
            '"', '\\', '/' -> text.add(char.code)
            'b' -> text.add(8)
            'f' -> text.add(12)
            'n' -> text.add(10)
            'r' -> text.add(13)
            't' -> text.add(9)
            'u' -> text.addCode(code())
            else -> fail("an unknown escape")
        }
    }

    private fun code(): Int {
        val first = hex()
        if (first !in 0xd800..0xdfff) return first
        if (first < 0xdc00 && peek() == '\\') {
            at++
            if (peek() == 'u') {
                at++
                val second = hex()
                if (second in 0xdc00..0xdfff) {
                    return Character.toCodePoint(first.toChar(), second.toChar())
                }
            }
        }
        fail("a lone surrogate, which is not valid text,")
    }

    private fun hex(): Int {
        var code = 0
        repeat(4) {
            val digit = HEX.indexOf(peek(), ignoreCase = true)
            if (digit < 0) fail("an escape without four digits")
            code = 16 * code + digit
            at++
        }
        return code
    }

    /**
     * Reads a number as the `tokenizers` package does: its digits as a whole number, next divided
     * by a power of ten. That rounds twice, and decides between sums that are equal otherwise.
     */
    fun score(): Double {
        next()
        val (mantissa, exponent) = (numeral().lowercase() + "e0").split('e')
        var digits = 0UL
        var power = exponent.toInt()
        val (whole, fraction) = ("$mantissa.").split('.')
        for (digit in whole.trimStart('-')) digits = digits * 10u + digit.digitToInt().toUInt()
        for (digit in fraction) {
            if (digits > (ULong.MAX_VALUE - digit.digitToInt().toUInt()) / 10u) break
            digits = digits * 10u + digit.digitToInt().toUInt()
            power--
        }
        val scale = "1e${abs(power)}".toDouble()
        val size = if (power < 0) digits.toDouble() / scale else digits.toDouble() * scale
        return if (mantissa.startsWith('-')) -size else size
    }

    private fun number(): Any = numeral().let { it.toLongOrNull() ?: it.toDouble() }

    private fun numeral(): String {
        val found = StringBuilder()
        take('-', found)
        val leads = peek() == '0'
        val whole = digits(found)
        if (leads && whole > 1) fail("a number with a leading zero")
        if (take('.', found)) digits(found)
        if (take('e', found) || take('E', found)) {
            take('+', found) || take('-', found)
            digits(found)
        }
        return "$found"
    }

    private fun digits(found: StringBuilder): Int {
        var count = 0
        while (filled() && peek() in '0'..'9') {
            found.append(peek())
            at++
            count++
        }
        return if (count > 0) count else fail("expected a digit")
    }

    private fun take(char: Char, found: StringBuilder): Boolean {
        val isThere = filled() && peek() == char
        if (isThere) {
            found.append(char)
            at++
        }
        return isThere
    }

    private fun <T> word(word: String, value: T): T {
        for (char in word) {
            if (!filled() || peek() != char) fail("an unknown word")
            at++
        }
        return value
    }

    private fun expect(char: Char) {
        if (next() != char) fail("expected '$char'")
        at++
    }

    /** The next byte; those of other characters than ASCII's are none of JSON's. */
    private fun peek(): Char =
        if (filled()) (buffer[at].toInt() and 0xff).toChar() else fail("it ends too early")

    private fun filled(): Boolean {
        if (at < end) return true
        before += end
        at = 0
        end = maxOf(input.read(buffer), 0)
        return end > 0
    }

    private fun fail(what: String): Nothing =
        throw FormatException("no JSON: $what at byte ${before + at}")

    private companion object {
        const val MAX_DEPTH = 64
        const val SPACE = " \t\n\r"
        const val HEX = "0123456789abcdef"
        const val QUOTE = '"'.code
        const val BACKSLASH = '\\'.code
    }
}
