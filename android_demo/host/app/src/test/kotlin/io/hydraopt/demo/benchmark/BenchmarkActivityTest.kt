package io.hydraopt.demo.benchmark

import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Canvas
import android.os.Looper
import android.view.ViewGroup
import android.widget.TextView
import io.hydraopt.demo.Fixtures
import io.hydraopt.demo.await
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

/** The benchmark as adb's shell starts it. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [36], qualifiers = "w400dp-h240dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class BenchmarkActivityTest {
    private lateinit var controller: ActivityController<BenchmarkActivity>
    private val files = RuntimeEnvironment.getApplication().filesDir!!
    private val results = File(files, "benchmark/results.json")

    private fun start(vararg extras: Pair<String, Any>) {
        val intent = Intent()
        for ((name, value) in extras) {
            if (value is Int) intent.putExtra(name, value) else intent.putExtra(name, "$value")
        }
        Fixtures.linked("zoo", files)
        controller = Robolectric.buildActivity(BenchmarkActivity::class.java, intent).setup()
    }

    private val text: String
        get() {
            val content = controller.get().findViewById<ViewGroup>(android.R.id.content)!!
            return ((content.getChildAt(0) as ViewGroup).getChildAt(0) as TextView).text.toString()
        }

    private fun awaitText(start: String) = await(
        "$start instead of $text",
        {
            Thread.sleep(5)
            shadowOf(Looper.getMainLooper()).idle()
        }
    ) { text.startsWith(start) }

    @Test
    fun itMeasuresAndShowsWhatItFound() {
        start("run_id" to "4", "bundle" to "zoo", "rounds" to 1, "threads" to "1", "tokens" to 2)
        awaitText("Finished")
        for (part in listOf("Switch: ", "tokens/s", "files/benchmark/results.json")) {
            assertTrue(text, part in text)
        }
        results.copyTo(Fixtures.bundle("activity.json"), overwrite = true)
        System.getProperty("screenshots")?.let { screenshot(File(it, "benchmark.png")) }
    }

    private fun screenshot(file: File) {
        val view = controller.get().window!!.decorView
        val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)!!
        view.draw(Canvas(bitmap))
        file.parentFile!!.mkdirs()
        file.outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
    }

    @Test
    fun itSaysWhatWentWrong() {
        start("run_id" to "5", "bundle" to "none")
        awaitText("Failed: ${File(files, "none/manifest.json")} is missing")
        assertTrue(results.readText(), "\"run_id\": \"5\"" in results.readText())
        assertTrue(results.readText(), "\"status\": \"failed\"" in results.readText())
    }

    @Test
    fun closingItsScreenEndsIt() {
        start("run_id" to "6", "bundle" to "zoo", "rounds" to 1000, "threads" to "1", "tokens" to 2)
        awaitText("Measured")
        controller.pause().stop().destroy()
        await("results", { Thread.sleep(5) }) { results.exists() }
        assertTrue(results.readText(), "its screen was closed before the end" in results.readText())
        assertEquals(listOf("results.json"), results.parentFile!!.list()!!.toList())
    }
}
