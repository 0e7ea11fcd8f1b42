package io.hydraopt

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

/** JSON as RFC 8259 has it, and nothing else. */
class JsonTest {
    @Test
    fun values() {
        val text = """ {"a": [1, -2.5e3, 0, 1E2], "b": {"c": null, "d": true, "e": false},
            "": "x"} """
        val expected = mapOf(
            "a" to listOf(1L, -2500.0, 0L, 100.0),
            "b" to mapOf("c" to null, "d" to true, "e" to false),
            "" to "x"
        )
        assertEquals(expected, Json.parse(text))
        assertEquals(listOf("a", "b", ""), (Json.parse(text) as Map<*, *>).keys.toList())
        assertEquals(listOf<Any>(), Json.parse("[]"))
        assertEquals(1e30, Json.parse("1" + "0".repeat(30)))
    }

    @Test
    fun strings() {
        val text = """"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é😀""""
        assertEquals("\"\\/\b\u000c\n\r\té😀é😀", Json.parse(text))
    }

    @Test
    fun valuesAcrossBuffers() {
        val long = List(3000) { "é😀 \"$it\"" to it.toDouble() / 8 }
        val text = long.joinToString(", ", "[", "]") { (name, number) ->
            "[\"${name.replace("\"", "\\\"")}\", $number, true, null]"
        }
        assertEquals(long.map { listOf(it.first, it.second, true, null) }, Json.parse(text))
    }

    @Test
    fun whatIsNone() {
        val wrong = listOf(
            "", "{", "[1,]", "{\"a\" 1}", "{\"a\": 1,}", "{a: 1}", "'a'", "01", "-", "1.", ".5",
            "1e", "nul", "truely", "[1] 2", "\"", "\"\n\"", "\"\\x\"", "\"\\u12g4\"", "[1 2]",
            "\"\\u００４１\"", "\"\\ud800\"", "\"\\udc00\\ud800\"", "\"\\ud83d \\ude00\"",
            "NaN", "+1",
            "[".repeat(100) + "]".repeat(100)
        )
        for (text in wrong) assertThrows(text, FormatException::class.java) { Json.parse(text) }
        val surrogate = byteArrayOf('"'.code.toByte(), -0x13, -0x60, -0x80, '"'.code.toByte())
        assertThrows(FormatException::class.java) { Json.parse(surrogate) }
    }
}
