package io.hydraopt.demo.benchmark

import io.hydraopt.UsageException
import java.io.File

/**
 * A benchmark's options, as of `hydraopt profile`.
 *
 * @property runId chosen by the caller and written to the results.
 * @property bundle directory of the bundle.
 * @property rounds repetitions.
 * @property threads sizes of ExecuTorch's thread pool.
 * @property tokens most tokens decoded after a prompt; null for the profiler's default.
 * @property outputs a file of [Asked] lines whose logits are written; null for none.
 */
internal class BenchmarkRequest(
    val runId: String,
    val bundle: File,
    val rounds: Int,
    val threads: List<Int>,
    val tokens: Int? = null,
    val outputs: File? = null
) {
    companion object {
        const val RUN_ID = "run_id"
        private const val ROUNDS = 5
        private val THREADS = listOf(1, 2, 4)

        /**
         * Reads the extras of an intent.
         *
         * @param files the app's files, in which relative paths lie.
         * @param cores of the device.
         * @param extra the value of an extra as text; null if there is none.
         * @throws UsageException an extra is missing, or is not a number in range.
         */
        fun parse(files: File, cores: Int, extra: (String) -> String?): BenchmarkRequest {
            val path = { name: String -> extra(name)?.let { files.resolve(it) } }
            return BenchmarkRequest(
                extra(RUN_ID) ?: missing(RUN_ID, "ID"),
                path("bundle") ?: missing("bundle", "DIRECTORY"),
                extra("rounds")?.let { number("rounds", it) } ?: ROUNDS,
                extra("threads")?.split(',')?.map { number("threads", it, cores) }
                    ?: THREADS.filter { it <= cores },
                extra("tokens")?.let { number("tokens", it) },
                path("outputs")
            )
        }

        private fun missing(name: String, value: String): Nothing =
            throw UsageException("the extra $name is missing; pass --es $name $value")

        private fun number(name: String, text: String, most: Int? = null): Int {
            val expected = if (most == null) "a number from 1 on" else "numbers from 1 to $most"
            return text.trim().toIntOrNull()?.takeIf { it >= 1 && it <= (most ?: it) }
                ?: throw UsageException("the extra $name is '$text', expected $expected")
        }
    }
}
