package io.hydraopt.demo.benchmark

import io.hydraopt.TaskBundle
import io.hydraopt.demo.Fixtures
import java.io.File
import java.util.concurrent.CancellationException
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** The benchmark on a plain JVM, with a real bundle; Python reads what it writes. */
class BenchmarkTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val directory by lazy { File(folder.root, "results") }
    private val steps = ArrayList<Pair<Int, Int>>()

    private fun run(vararg extras: Pair<String, String>, progress: (Int, Int) -> Unit): Outcome {
        val device = Device("phone", "Maker Model", "arm64-v8a", "Android 15", "6.1", 9, 1L shl 33)
        val few = arrayOf("threads" to "1", "tokens" to "2")
        val given = mapOf("run_id" to "7", "bundle" to "zoo", *few, *extras)
        return BenchmarkRun(Record("0.3.0", device), directory).run(
            "7",
            { BenchmarkRequest.parse(Fixtures.bundle(""), 9) { given[it]?.ifEmpty { null } } },
            progress
        )
    }

    private fun run(vararg extras: Pair<String, String>) =
        run(*extras) { done, all -> steps.add(done to all) }

    private val written get() = File(directory, "results.json").readText()

    private fun fails(outcome: Outcome, message: String) {
        assertTrue("${outcome.failure} lacks: $message", message in outcome.failure!!)
        assertFalse(outcome.failure, '\n' in outcome.failure)
        assertTrue(written, "\"status\": \"failed\", \"lost\": \"" in written)
        assertTrue(written, "\"run_id\": \"7\"" in written)
        assertTrue(written, "\"measurements\": []" in written)
    }

    @Test
    fun everythingIsMeasuredAndWritten() {
        val asked = folder.newFile()
        val tasks = TaskBundle.open(Fixtures.bundle("zoo"), hashes = false).tasks
        asked.writeText(tasks.joinToString("") { "$it\t1,2,3\t4,5\n" })
        val outcome = run(
            "rounds" to "2",
            "threads" to "1,2",
            "tokens" to "4",
            "outputs" to asked.path
        )
        assertEquals(outcome.failure, null)
        assertEquals(List(6) { minOf(it, 5) }.distinct().map { it to 5 }, steps)
        assertEquals(listOf("logits", "results.json"), directory.list()!!.sorted())
        directory.copyRecursively(Fixtures.bundle("benchmark"), overwrite = true)
        assertEquals(6, outcome.lines.size)
        assertTrue(outcome.lines[0], Regex("Switch: .* ms \\(p50\\).*").matches(outcome.lines[0]))
    }

    @Test
    fun fewerTokensIfAsked() {
        assertEquals(null, run("rounds" to "1", "tokens" to "3").failure)
        assertTrue(written, "\"tokens\": 3," in written)
    }

    @Test
    fun whatGoesWrongIsWrittenInTheirPlace() {
        assertEquals(null, run("rounds" to "1").failure)
        fails(run("bundle" to "none"), "none/manifest.json is missing")
        fails(run("bundle" to ""), "the extra bundle is missing; pass --es bundle DIRECTORY")
        fails(run("rounds" to "0"), "the extra rounds is '0', expected a number from 1 on")
        fails(run("threads" to "1,x"), "the extra threads is 'x', expected numbers from 1 to 9")
        fails(run("threads" to "10"), "the extra threads is '10', expected numbers from 1 to 9")
        fails(run("outputs" to "none"), "none")
        fails(run("outputs" to "zoo/manifest.json"), "has the line '{', expected a task, ids and")
        assertEquals(listOf("results.json"), directory.list()!!.filter { "logits" !in it })
    }

    @Test
    fun aBenchmarkThatIsEndedSaysSo() {
        val outcome = run { done, _ -> if (done == 2) throw CancellationException("closed") }
        fails(outcome, "closed")
        assertEquals(null, run("rounds" to "1").failure) // the program is free
    }

    @Test
    fun defaultsAreTheProfilers() {
        val extras = mapOf("run_id" to "7", "bundle" to "/absolute")
        val request = BenchmarkRequest.parse(File("/files"), 3) { extras[it] }
        assertEquals(File("/absolute"), request.bundle)
        assertEquals(5 to listOf(1, 2), request.rounds to request.threads)
        assertEquals(30, Workload(8, 4).calibrated(1.0).sequences)
        assertEquals(10, Workload(8, 4).calibrated(50.0).sequences)
        assertEquals(3, Workload(8, 4).calibrated(5000.0).sequences)
    }

    @Test
    fun jsonIsStrict() {
        val list = listOf(1, 2L, 0.5, null, true, "ü")
        val value = mapOf("a\"\\\n" to list, "b" to mapOf<String, Any>())
        val text = "{\"a\\\"\\\\\\u000a\": [1, 2, 0.5, null, true, \"ü\"], \"b\": {}}"
        assertEquals(text, json(value))
        assertNotNull(runCatching { json(Double.NaN) }.exceptionOrNull())
    }
}
