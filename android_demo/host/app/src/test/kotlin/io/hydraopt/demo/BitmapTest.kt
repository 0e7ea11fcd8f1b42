package io.hydraopt.demo

import android.graphics.Bitmap
import android.graphics.ImageDecoder
import io.hydraopt.TaskException
import io.hydraopt.TaskSession
import io.hydraopt.toPicture
import java.io.ByteArrayOutputStream
import java.nio.ByteBuffer
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

/** An image model makes of a bitmap what Python's session makes of the same picture. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [36])
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class BitmapTest {
    private val cases = JSONArray(Fixtures.bundle("viewers-runs.json").readText())
        .let { all -> List(all.length()) { all.getJSONObject(it) } }

    private fun numbers(case: JSONObject, name: String): List<Number> =
        case.getJSONArray(name).let { all -> List(all.length()) { all.get(it) as Number } }

    private fun bitmap(case: JSONObject): Bitmap {
        val (height, width) = numbers(case, "size").map { it.toInt() }
        val argb = numbers(case, "rgb").map { it.toInt() }.chunked(3) { (red, green, blue) ->
            (255 shl 24) or (red shl 16) or (green shl 8) or blue
        }
        return Bitmap.createBitmap(argb.toIntArray(), width, height, ARGB)
    }

    @Test
    fun anImageModelTakesBitmaps() {
        TaskSession.open(Fixtures.bundle("viewers")).use { session ->
            for (case in cases) {
                session.switchTo(case.getString("task"))
                val expected = numbers(case, "values").map { it.toFloat() }.toFloatArray()
                val found = session.run(bitmap(case).toPicture())
                assertArrayEquals(expected, found.values, 1e-6f)
            }
        }
        assertTrue(cases.isNotEmpty())
    }

    @Test
    fun aDecodedFileHasThePixelsThatWereWritten() {
        val bitmap = bitmap(cases[1])
        val file = ByteArrayOutputStream()
        bitmap.compress(Bitmap.CompressFormat.PNG, 100, file)
        val source = ImageDecoder.createSource(ByteBuffer.wrap(file.toByteArray()))
        val found = ImageDecoder.decodeBitmap(source).toPicture()
        assertArrayEquals(bitmap.toPicture().argb, found.argb)
        assertEquals(listOf(bitmap.width, bitmap.height), listOf(found.width, found.height))
    }

    @Test
    fun whatIsNoPictureIsRefused() {
        val transparent = Bitmap.createBitmap(3, 2, ARGB)
        refuses("transparent pixels, expected opaque RGB", transparent)
        transparent.recycle()
        refuses("the bitmap is recycled", transparent)
    }

    private fun refuses(message: String, bitmap: Bitmap) {
        val error = assertThrows(TaskException::class.java) { bitmap.toPicture() }
        assertTrue(error.message, message in error.message!!)
    }

    private companion object {
        val ARGB = Bitmap.Config.ARGB_8888
    }
}
