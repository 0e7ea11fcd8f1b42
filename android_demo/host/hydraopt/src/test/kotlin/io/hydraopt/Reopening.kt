package io.hydraopt

import java.io.File
import org.junit.Test

/**
 * Measures what open sessions of a bundle take, and what opening it again takes: for
 * tests/benchmarks/reopening.py, which names this class.
 */
class Reopening {
    private val directory = Fixtures.file("bundle")
    private val lines = ArrayList<String>()

    @Test
    fun measure() {
        Fixtures.loadRuntime()
        repeat(ROUNDS) { round() }
        Fixtures.file("measured.txt").writeText(lines.joinToString("\n"))
    }

    private fun round() {
        val before = Memory.read()
        timed("check_ms") { TaskBundle.open(directory) }
        val bundle = timed("remember_ms") {
            TaskBundle.open(directory, cache = Fixtures.file("cache").apply { mkdirs() })
        }
        val session = timed("load_ms") { TaskSession.open(bundle, threads = 1) }
        timed("switch_ms") { session.switchTo(bundle.tasks.first()) }
        timed("first_token_ms") { session.forward(IntArray(PROMPT) { it + 5 }) }
        grown("open", before)
        val second = TaskSession.open(bundle, threads = 1)
        second.switchTo(bundle.tasks.last())
        second.forward(IntArray(PROMPT) { it + 5 })
        grown("two", before)
        second.close()
        session.close()
        grown("closed", before)
    }

    private fun <T> timed(name: String, body: () -> T): T {
        val start = System.nanoTime()
        return body().also { lines.add("$name ${(System.nanoTime() - start) / 1e6}") }
    }

    /** How much more memory there is than [before]: of files, and of the process's own. */
    private fun grown(name: String, before: Memory) {
        val now = Memory.read()
        lines.add("${name}_file_bytes ${now.file - before.file}")
        lines.add("${name}_own_bytes ${now.own - before.own}")
    }

    /** Resident bytes: pages of mapped files, and others. */
    private class Memory(val file: Long, val own: Long) {
        companion object {
            fun read(): Memory {
                val lines = File("/proc/self/status").readLines()
                fun bytes(name: String) =
                    lines.first { it.startsWith(name) }.filter(Char::isDigit).toLong() * 1024
                return Memory(bytes("RssFile"), bytes("RssAnon"))
            }
        }
    }

    private companion object {
        const val ROUNDS = 12
        const val PROMPT = 16 // tokens
    }
}
