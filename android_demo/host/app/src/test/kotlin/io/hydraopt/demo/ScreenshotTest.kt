package io.hydraopt.demo

import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.LinearGradient
import android.graphics.Paint
import android.graphics.Shader
import io.hydraopt.toPicture
import org.junit.Test
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config

/** Pictures of the app at work, for people to look at. */
class ScreenshotTest : ScreenCase() {
    private fun answered(): Phone {
        start()
        val asked = Fixtures.answers("zoo").associateBy { it.task }
        for (task in listOf("date-de", "words-pl", "ordinal-fr", "money-de")) {
            if (task in asked) phone.choose(task)
        }
        phone.type(R.id.prompt, asked.getValue("money-de").prompt)
        phone.tap(R.id.run)
        phone.awaitRest()
        return phone
    }

    @Test
    fun light() = answered().screenshot("light")

    @Test
    @Config(qualifiers = "+night")
    fun dark() = answered().screenshot("dark")

    @Test
    fun landscape() {
        answered()
        phone.change("+land")
        phone.screenshot("landscape")
    }

    @Test
    fun conversation() {
        start("lines")
        phone.choose("money-pl")
        for (amount in listOf("6817.18 JPY", "34379.87 EUR")) {
            phone.type(R.id.message, "money $amount=")
            phone.tap(R.id.send)
            phone.awaitRest()
        }
        phone.idle()
        phone.screenshot("conversation")
        phone.change("+land")
        phone.screenshot("conversation-landscape")
    }

    @Test
    fun mixture() {
        start("portable")
        phone.choose("alpha")
        phone.presenter.mix(mapOf("alpha" to 0.65f, "beta" to 0.4f))
        phone.awaitRest()
        phone.screenshot("mixture")
    }

    @Test
    fun classifier() {
        start("classifiers")
        phone.choose("topic")
        phone.type(R.id.prompt, "Ada met Grace in Paris")
        phone.tap(R.id.run)
        phone.await("labels") { phone.text(R.id.status) == "Done" }
        phone.screenshot("classifier")
    }

    @Test
    fun picture() {
        start("sights")
        phone.choose("weather")
        phone.presenter.look(Dusk)
        phone.await("labels") { phone.text(R.id.status) == "Done" }
        phone.screenshot("picture")
    }

    @Test
    fun largeText() {
        RuntimeEnvironment.setFontScale(1.8f)
        answered().screenshot("large-text")
    }

    @Test
    fun tasks() {
        answered()
        phone.tap(R.id.task)
        phone.search("de")
        phone.screenshot("tasks")
    }

    @Test
    fun first() {
        phone.start().awaitRest()
        phone.screenshot("first")
    }

    @Test
    fun error() {
        answered()
        phone.type(R.id.prompt, "x".repeat(400))
        phone.tap(R.id.run)
        phone.awaitRest()
        phone.screenshot("error")
    }

    /** Hills below an evening sky, which are painted here. */
    private object Dusk : Photo {
        override fun read(): Shot {
            val bitmap = Bitmap.createBitmap(640, 420, Bitmap.Config.ARGB_8888)!!
            val canvas = Canvas(bitmap)
            val paint = Paint(Paint.ANTI_ALIAS_FLAG)
            val (top, bottom) = Color.rgb(38, 58, 110) to Color.rgb(250, 170, 110)
            paint.shader = LinearGradient(0f, 0f, 0f, 420f, top, bottom, Shader.TileMode.CLAMP)
            canvas.drawPaint(paint)
            paint.shader = null
            for ((colour, circle) in listOf(
                Color.rgb(255, 226, 150) to Triple(450f, 250f, 46f),
                Color.rgb(60, 84, 92) to Triple(140f, 640f, 330f),
                Color.rgb(36, 56, 62) to Triple(520f, 700f, 340f)
            )) {
                paint.color = colour
                circle.let { (x, y, radius) -> canvas.drawCircle(x, y, radius, paint) }
            }
            return bitmap.toPicture().let { Shot(it, it) }
        }
    }
}
