package io.hydraopt.demo.benchmark

import io.hydraopt.Model
import io.hydraopt.TaskBundle
import io.hydraopt.TaskSession
import java.io.File

/**
 * Measures a bundle in this process, as the profiler's runner does in its own.
 *
 * @param progress receives finished and total steps; an exception of it ends the benchmark.
 */
internal class Benchmark(
    private val bundle: TaskBundle,
    private val model: Model.CausalLm,
    private val request: BenchmarkRequest,
    private val progress: (Int, Int) -> Unit
) {
    private val tasks = bundle.tasks

    /** Milliseconds since a value of [System.nanoTime]. */
    private fun since(start: Long) = (System.nanoTime() - start) / 1e6

    /** Runs all rounds; returns their workload. */
    fun run(samples: Samples): Workload {
        val steps = request.rounds * request.threads.size + 1
        progress(0, steps)
        val workload = calibrated(Workload.fitting(model, request.tokens))
        for (step in 1 until steps) {
            progress(step, steps)
            val threads = request.threads[(step - 1) % request.threads.size]
            samples.add(threads, round(workload, threads))
        }
        progress(steps, steps)
        return workload
    }

    private fun calibrated(workload: Workload): Workload =
        TaskSession.open(bundle, request.threads[0]).use { session ->
            session.switchTo(tasks[0])
            session.sequence(workload) // the first one is slow
            val (prefill, decode) = session.sequence(workload)
            workload.calibrated(prefill + decode.sum())
        }

    private fun round(workload: Workload, threads: Int): Map<String, List<Double>> {
        val found = LinkedHashMap<String, ArrayList<Double>>()
        fun add(metric: String, value: Double) = found.getOrPut(metric, ::ArrayList).add(value)
        val start = System.nanoTime()
        TaskSession.open(bundle, threads).use { session ->
            add("load_warm_ms", since(start))
            session.switchTo(tasks[0])
            add("first_inference_ms", session.sequence(workload).first)
            repeat(workload.sequences) {
                val (prefill, decode) = session.sequence(workload)
                add("prefill_ms", prefill)
                decode.forEach { add("decode_ms", it) }
            }
            val token = intArrayOf(workload.prompt)
            repeat(WARM_UP) { session.switchAndAsk(tasks[it % tasks.size], token) }
            val before = Memory.read()
            for (index in WARM_UP until WARM_UP + workload.switches) {
                val (times, asked) = session.switchAndAsk(tasks[index % tasks.size], token)
                add("swap_map_ms", times.mapNanos / 1e6)
                add("swap_unpack_ms", times.unpackNanos / 1e6)
                add("swap_ms", times.millis)
                add("first_token_ms", asked)
            }
            val after = Memory.read()
            add("peak_bytes", after.peak.toDouble())
            add("growth_bytes", (after.resident - before.resident).toDouble())
        }
        return found
    }

    private fun TaskSession.switchAndAsk(task: String, token: IntArray) =
        switchTo(task) to timed(token)

    /** Runs a prompt and its greedy continuation, one token at a time. */
    private fun TaskSession.sequence(workload: Workload): Pair<Double, List<Double>> {
        reset()
        var logits = FloatArray(0)
        fun ask(ids: IntArray) = timed(ids) { logits = it }
        val prefill = ask(IntArray(workload.prompt) { (it + 1) % model.vocabulary })
        return prefill to List(workload.tokens) { ask(intArrayOf(likeliest(logits))) }
    }

    private inline fun TaskSession.timed(ids: IntArray, keep: (FloatArray) -> Unit = {}): Double {
        val start = System.nanoTime()
        val logits = forward(ids)
        val taken = since(start)
        keep(logits)
        return taken
    }

    private companion object {
        const val WARM_UP = 2 // switches
    }
}

/** The index of the first largest value. */
internal fun likeliest(logits: FloatArray): Int {
    var best = 0
    for (index in logits.indices) if (logits[index] > logits[best]) best = index
    return best
}

/** Bytes of this process's resident set, and its peak. */
internal class Memory(val resident: Long, val peak: Long) {
    companion object {
        fun read(): Memory {
            val lines = File("/proc/self/status").readLines()
            fun bytes(name: String) = 1024 * (
                lines.firstOrNull { it.startsWith("$name:") }?.filter(Char::isDigit)?.toLong() ?: 0
                )
            return Memory(bytes("VmRSS"), bytes("VmHWM"))
        }
    }
}
