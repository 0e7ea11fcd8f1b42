package io.hydraopt

import java.io.File
import java.io.RandomAccessFile
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.BeforeClass
import org.junit.Test

/** A manifest whose digest is right may still be written by anyone: nothing in it is trusted. */
class HostileTest {
    private val directory = Fixtures.copied("pieces")
    private val manifest = File(directory, "manifest.json")
    private val written = manifest.readText()

    @After
    fun delete() {
        directory.deleteRecursively()
    }

    /** Puts a number in all places of that name, opens the bundle and asks it. */
    private fun ask(name: String, number: String) {
        manifest.writeText(written)
        Fixtures.reseal(directory) { text ->
            val field = Regex("\"$name\": \\d+")
            assertTrue(name, field.containsMatchIn(text))
            text.replace(field, "\"$name\": $number")
        }
        TaskSession.open(directory).use {
            it.switchTo("beta")
            it.generateIds(intArrayOf(1), Options(3))
            it.generate("hello", Options(3))
        }
    }

    @Test
    fun everyNumberOfAManifestIsRefusedInWordsOrAnswered() {
        var refused = 0
        for (name in NAMES) {
            for (number in NUMBERS) {
                try {
                    ask(name, number)
                } catch (error: HydraOptException) {
                    assertTrue(error.message, '\n' !in error.message!!)
                    refused++
                } catch (error: Throwable) {
                    throw AssertionError("$name: $number", error)
                }
            }
        }
        assertTrue("$refused", refused > NAMES.size * NUMBERS.size / 2)
    }

    @Test
    fun whatIsSaidOfThem() {
        val damaged = "manifest.json is damaged"
        refuses<BundleException>(damaged) { ask("offset", "9223372036854775807") }
        refuses<BundleException>("is damaged: it ends after") { ask("offset", "9007199254740991") }
        refuses<BundleException>("is damaged: it ends after") { ask("length", "3000000000") }
        refuses<BundleException>("gives 261 logits, expected 1000000000 as in manifest.json") {
            ask("vocabulary", "1000000000")
        }
        refuses<BundleException>("gives 261 logits, expected 87 as") { ask("vocabulary", "87") }
        for (pack in File(directory, "packs").listFiles()!!) {
            RandomAccessFile(pack, "rw").use { it.setLength(3_000_000_000) } // a hole
        }
        refuses<BundleException>("has a pack of 3,000,000,000 bytes, expected less than 2^31") {
            ask("length", "3000000000")
        }
        assertEquals(3, File(directory, "packs").list()!!.size)
    }

    companion object {
        private val NAMES = listOf(
            "offset", "length", "bytes", "vocabulary", "max_length", "prefill_length",
            "adapter_bytes", "constant_bytes"
        )
        private val NUMBERS = listOf(
            "-1", "0", "1", "1000000000", "2147483647", "2147483648", "3000000000",
            "9007199254740991", "9223372036854775807", "9223372036854775808"
        )

        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}
