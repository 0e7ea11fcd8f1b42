package io.hydraopt.demo.benchmark

import android.app.Activity
import android.app.ActivityManager
import android.os.Build
import android.os.Bundle
import android.os.Process
import android.view.WindowManager
import android.widget.ScrollView
import android.widget.TextView
import java.io.File
import java.util.concurrent.CancellationException

/**
 * Measures a bundle when `adb shell am start` asks for it; writes `files/benchmark/results.json`.
 *
 * Extras: `run_id`, `bundle` and, optionally, `rounds`, `threads`, `tokens`, `outputs`. Paths are
 * relative to the app's files.
 */
class BenchmarkActivity : Activity() {
    private lateinit var screen: TextView

    @Volatile
    private var closed = false

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        // a dark screen lowers clocks
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        screen = TextView(this).apply {
            val padding = (PADDING_DP * resources.displayMetrics.density).toInt()
            setPadding(padding, padding, padding, padding)
            textSize = TEXT_SP
            setTextIsSelectable(true)
        }
        setContentView(
            ScrollView(this).apply {
                fitsSystemWindows = true
                addView(screen)
            }
        )
        Thread(::measure, "benchmark").start()
    }

    override fun onDestroy() {
        closed = true
        super.onDestroy()
    }

    private fun measure() {
        Process.setThreadPriority(Process.THREAD_PRIORITY_URGENT_DISPLAY)
        val directory = File(filesDir, "benchmark")
        val runId = extra(BenchmarkRequest.RUN_ID) ?: ""
        show("Reading the bundle …")
        val outcome = try {
            BenchmarkRun(Record(version(), device()), directory).run(runId, ::request, ::progress)
        } catch (error: Exception) { // nothing can be written
            Outcome("no results: ${error.message}", listOf())
        }
        show(
            outcome.failure?.let { "Failed: $it" }
                ?: (listOf("Finished") + outcome.lines + WRITTEN).joinToString("\n")
        )
    }

    private fun request() =
        BenchmarkRequest.parse(filesDir, Runtime.getRuntime().availableProcessors(), ::extra)

    /** An extra as text, whether `--es` or `--ei` passed it. */
    private fun extra(name: String): String? {
        @Suppress("DEPRECATION") // what replaces it asks for a type
        return intent.extras?.get(name)?.toString()
    }

    private fun progress(done: Int, all: Int) {
        if (closed) throw CancellationException("its screen was closed before the end")
        show("Measured $done of $all steps")
    }

    private fun show(text: String) = runOnUiThread { screen.text = text }

    private fun version() = packageManager.getPackageInfo(packageName, 0).versionName ?: ""

    private fun device(): Device {
        val memory = ActivityManager.MemoryInfo()
        getSystemService(ActivityManager::class.java)!!.getMemoryInfo(memory)
        val emulated = Build.HARDWARE in EMULATORS
        return Device(
            deviceType = if (emulated) "Android emulator" else "phone",
            model = "${Build.MANUFACTURER} ${Build.MODEL}",
            abi = Build.SUPPORTED_ABIS.first(),
            os = "Android ${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})",
            kernel = System.getProperty("os.version") ?: "",
            cores = Runtime.getRuntime().availableProcessors(),
            memoryBytes = memory.totalMem
        )
    }

    private companion object {
        const val PADDING_DP = 16
        const val TEXT_SP = 16f
        const val WRITTEN = "Results: files/benchmark/${BenchmarkRun.RESULTS}"
        val EMULATORS = setOf("goldfish", "ranchu")
    }
}
