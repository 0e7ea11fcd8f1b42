package io.hydraopt.demo.benchmark

import io.hydraopt.Model
import io.hydraopt.TaskBundle
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import java.util.TimeZone

/** The device, with the fields of the profiler's `device`. */
internal class Device(
    val deviceType: String,
    val model: String,
    val abi: String,
    val os: String,
    val kernel: String,
    val cores: Int,
    val memoryBytes: Long
)

/** `results.json` of the profiler, with the run's id: see `hydraopt/profiling/RESULTS.md`. */
internal class Record(private val version: String, private val device: Device) {
    private fun head(runId: String, status: String, lost: String) = mapOf(
        "format_version" to FORMAT_VERSION,
        "run_id" to runId,
        "hydraopt" to version,
        "finished" to now(),
        "status" to status,
        "lost" to lost,
        "timing_valid" to true,
        "device" to device.fields()
    )

    /** The results of a finished benchmark. */
    fun complete(
        request: BenchmarkRequest,
        bundle: TaskBundle,
        model: Model.CausalLm,
        workload: Workload,
        samples: Samples
    ): Map<String, Any?> = head(request.runId, "complete", "") + mapOf(
        "executorch" to bundle.manifest.executorch,
        "conditions" to mapOf<String, Any>(),
        "bundle" to bundle.fields(model),
        "settings" to settings(request, workload),
        "notes" to listOf(NOTE),
        "sizes" to sizes(bundle),
        "outputs" to mapOf<String, Any>(),
        "measurements" to samples.keys.map { measurement(it, samples) },
        "operators" to mapOf<String, Any>()
    )

    /** The results of a failed benchmark; [reason] is one line. */
    fun failed(runId: String, reason: String): Map<String, Any?> =
        head(runId, "failed", reason) + mapOf("measurements" to listOf<Any>())

    private fun settings(request: BenchmarkRequest, workload: Workload) = mapOf(
        "threads" to request.threads,
        "rounds" to request.rounds,
        "prompt" to workload.prompt,
        "tokens" to workload.tokens,
        "sequences" to workload.sequences,
        "switches" to workload.switches,
        "reloads" to 0
    )

    private fun measurement(key: Key, samples: Samples) = mapOf(
        "variant" to "bundle",
        "metric" to key.metric,
        "threads" to key.threads,
        "model" to device.model,
        "abi" to device.abi,
        "kernel" to device.kernel,
        "device_type" to device.deviceType,
        "timing_valid" to true
    ) + samples.statistics(key)

    private fun Device.fields() = mapOf(
        "serial" to "app",
        "device_type" to deviceType,
        "model" to model,
        "abi" to abi,
        "os" to os,
        "kernel" to kernel,
        "cores" to cores,
        "memory_bytes" to memoryBytes,
        "tier" to ""
    )

    private fun TaskBundle.fields(model: Model.CausalLm) = mapOf(
        "name" to directory.canonicalFile.name,
        "program_sha256" to manifest.files.getValue("model.pte").sha256,
        "base_model" to manifest.baseModel,
        "method" to manifest.method,
        "quantize" to manifest.quantize,
        "max_length" to model.maxLength,
        "tasks" to tasks.size
    )

    private fun now(): String {
        val format = SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'+00:00'", Locale.ROOT)
        format.timeZone = TimeZone.getTimeZone("UTC")
        return format.format(Date())
    }

    private companion object {
        const val FORMAT_VERSION = 3
        const val NOTE = "Measured in the app, all rounds in one process: a load is a later one " +
            "and has the tokenizer, a switch has the pack's hash, the peak of memory is the app's."
    }
}
