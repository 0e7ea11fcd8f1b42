package io.hydraopt.demo.benchmark

import io.hydraopt.Model
import io.hydraopt.Swap
import io.hydraopt.TaskBundle
import io.hydraopt.UsageException
import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/**
 * The outcome of a run.
 *
 * @property failure why it failed, in one line; null if it did not.
 * @property lines results for the screen.
 */
internal class Outcome(val failure: String?, val lines: List<String>)

/**
 * A run, from options to results in [directory].
 *
 * @param record creates the results.
 * @param directory receives [RESULTS] and, on request, [LOGITS]; created if missing.
 */
internal class BenchmarkRun(private val record: Record, private val directory: File) {
    /**
     * Measures and writes the results, or the error.
     *
     * @param runId id of the run.
     * @param request reads the options.
     */
    fun run(
        runId: String,
        request: () -> BenchmarkRequest,
        progress: (Int, Int) -> Unit
    ): Outcome {
        val failure = try {
            return measure(request(), progress)
        } catch (error: Exception) {
            (error.message ?: "$error").replace(Regex("\\s+"), " ")
        } catch (error: OutOfMemoryError) {
            "the app has too little memory: ${error.message}"
        } catch (error: UnsatisfiedLinkError) {
            "ExecuTorch's library cannot be loaded: ${error.message}"
        }
        write(record.failed(runId, failure))
        return Outcome(failure, listOf())
    }

    private fun measure(request: BenchmarkRequest, progress: (Int, Int) -> Unit): Outcome {
        val bundle = TaskBundle.open(request.bundle)
        val model = bundle.manifest.model
        if (bundle.manifest.swap !is Swap.Inputs || model !is Model.CausalLm) {
            throw UsageException(
                "${request.bundle} is not a language model whose tasks are packs; benchmark one " +
                    "that was exported with --swap inputs"
            )
        }
        request.outputs?.let { asked ->
            aside(LOGITS) { Asked.writeAll(asked, bundle, request.threads[0], it) }
        }
        val samples = Samples()
        val workload = Benchmark(bundle, model, request, progress).run(samples)
        write(record.complete(request, bundle, model, workload, samples))
        return Outcome(null, summary(workload, samples, request.threads[0]))
    }

    private fun write(value: Map<String, Any?>) = aside(RESULTS) { file ->
        FileOutputStream(file).use {
            it.write("${json(value)}\n".toByteArray())
            it.fd.sync()
        }
    }

    /** Writes a file under another name and renames it, so that it is never read half. */
    private fun aside(name: String, write: (File) -> Unit) {
        directory.mkdirs()
        val staging = File(directory, "$name.writing")
        write(staging)
        if (!staging.renameTo(File(directory, name))) {
            throw IOException("$staging cannot be renamed to $name; free some space")
        }
    }

    companion object {
        const val RESULTS = "results.json"
        const val LOGITS = "logits"
    }
}
