package io.hydraopt

import java.io.File
import java.util.Random
import org.junit.Assert.assertEquals
import org.junit.Test

/** A tokenizer of Llama 3's size, 128,000 tokens and 280,000 merges, opens on a small phone. */
class LargeTokenizerTest {
    @Test
    fun itOpensInAHeapOf48Mb() {
        val file = File.createTempFile("tokenizer", ".json")
        file.deleteOnExit()
        val (tokens, merges) = generated()
        write(file, tokens, merges)
        val java = File(System.getProperty("java.home"), "bin/java").path
        val path = System.getProperty("surefire.test.class.path")
            ?: System.getProperty("java.class.path")
        val command = listOf(java, "-Xmx48m", "-cp", path, "io.hydraopt.Opened", file.path)
        val process = ProcessBuilder(command).redirectErrorStream(true).start()
        val output = process.inputStream.reader().readText()
        assertEquals(output, 0, process.waitFor())
        println("${tokens.size} tokens, ${merges.size} merges, ${file.length()} bytes: $output")
    }

    /** All texts of up to three letters, some of four; every way to join two of them. */
    private fun generated(): Pair<List<String>, List<Pair<String, String>>> {
        val letters = (('a'..'z') + ('A'..'R') + listOf('Ġ', '2')).map { "$it" }
        val tokens = LinkedHashSet(letters)
        repeat(2) {
            for (start in tokens.toList()) letters.forEach { tokens.add(start + it) }
        }
        val draw = Random(0)
        while (tokens.size < TOKENS) {
            tokens.add(List(4) { letters[draw.nextInt(letters.size)] }.joinToString(""))
        }
        val merges = tokens.flatMap { token ->
            (1 until token.length).map { Pair(token.substring(0, it), token.substring(it)) }
        }
        return Pair(tokens.toList(), merges.filter { it.first in tokens && it.second in tokens })
    }

    private fun write(file: File, tokens: List<String>, merges: List<Pair<String, String>>) {
        file.bufferedWriter().use { out ->
            out.write("""{"version": "1.0", "added_tokens": [], "normalizer": null, """)
            out.write(""""pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}, """)
            out.write(""""post_processor": null, "decoder": {"type": "ByteLevel"}, """)
            out.write(""""model": {"type": "BPE", "vocab": {""")
            for ((id, token) in tokens.withIndex()) {
                out.write("${if (id > 0) "," else ""}\n      \"$token\": $id")
            }
            out.write("}, \"merges\": [")
            for ((rank, merge) in merges.withIndex()) {
                val (left, right) = merge
                out.write("${if (rank > 0) "," else ""}\n      [\"$left\", \"$right\"]")
            }
            out.write("]}}")
        }
    }

    private companion object {
        const val TOKENS = 128_000
    }
}

/** The process with a small heap. */
object Opened {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val start = System.nanoTime()
        val tokenizer = Tokenizer.read(File(arguments[0]))
        val millis = (System.nanoTime() - start) / 1_000_000
        val ids = tokenizer.encode("Hello big world 22 ")
        check(tokenizer.decode(ids) == "Hello big world 22 ") { "ids ${ids.toList()}" }
        System.gc()
        val runtime = Runtime.getRuntime()
        val megabytes = (runtime.totalMemory() - runtime.freeMemory()) shr 20
        print("opened in $millis ms, keeps $megabytes MB")
    }
}
