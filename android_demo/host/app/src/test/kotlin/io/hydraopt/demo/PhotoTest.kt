package io.hydraopt.demo

import android.graphics.Bitmap
import android.graphics.Color
import android.media.ExifInterface
import java.io.File
import java.io.IOException
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

/** Writes a picture, 30 pixels high: colours side by side. */
fun stripes(
    file: File,
    width: Int,
    vararg colours: Int,
    format: Bitmap.CompressFormat = Bitmap.CompressFormat.PNG
) {
    val argb = IntArray(width * 30) { colours[it % width * colours.size / width] }
    val bitmap = Bitmap.createBitmap(argb, width, 30, Bitmap.Config.ARGB_8888)!!
    file.outputStream().use { bitmap.compress(format, 100, it) }
}

/** Pictures of other apps, as a model takes them. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [36])
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class PhotoTest {
    @get:Rule
    val folder = TemporaryFolder()

    private fun read(file: File, permitted: Boolean = true): Shot {
        val uri = Documents.document(file, permitted)
        return DocumentPhoto(RuntimeEnvironment.getApplication().contentResolver, uri).read()
    }

    private fun read(name: String, width: Int, vararg colours: Int): Shot =
        read(folder.newFile(name).apply { stripes(this, width, *colours) })

    @Test
    fun aPictureHasThePixelsThatWereWritten() {
        val shot = read("two.png", 2, Color.RED, Color.BLUE)
        assertEquals(listOf(Color.RED, Color.BLUE, Color.RED), shot.picture.argb.take(3))
        assertEquals(listOf(2, 30), shot.picture.run { listOf(width, height) })
    }

    @Test
    fun aTransparentPictureLiesOnWhite() {
        val shot = read("clear.png", 2, Color.TRANSPARENT, Color.RED)
        assertEquals(listOf(Color.WHITE, Color.RED), shot.picture.argb.take(2))
    }

    @Test
    fun aLargePictureIsShownSmall() {
        val shot = read("wide.png", 2000, Color.RED, Color.BLUE)
        assertEquals(listOf(2000, 30), shot.picture.run { listOf(width, height) })
        assertEquals(listOf(720, 10), shot.preview.run { listOf(width, height) })
    }

    /** Rows of a square of red, green; blue, white for every orientation of EXIF. */
    @Test
    fun aPhotoIsTurnedAsItsCameraWasHeld() {
        val names =
            mapOf(Color.RED to 'R', Color.GREEN to 'G', Color.BLUE to 'B', Color.WHITE to 'W')
        val square = Bitmap.createBitmap(names.keys.toIntArray(), 2, 2, Bitmap.Config.ARGB_8888)!!
        val turned = listOf("RGBW", "GRWB", "WBGR", "BWRG", "RBGW", "BRWG", "WGBR", "GWRB")
        for ((index, expected) in turned.withIndex()) {
            val bitmap = DocumentPhoto.upright(square, index + 1)
            val found = List(4) { names.getValue(bitmap.getPixel(it % 2, it / 2)) }
            assertEquals("orientation ${index + 1}", expected, found.joinToString(""))
        }
    }

    @Test
    fun theOrientationIsReadFromThePhoto() {
        val file = folder.newFile("photo.jpg")
        stripes(file, 60, Color.RED, Color.BLUE, format = Bitmap.CompressFormat.JPEG)
        assertEquals(60, read(file).picture.width)
        ExifInterface(file.path).run {
            setAttribute(ExifInterface.TAG_ORIENTATION, "${ExifInterface.ORIENTATION_ROTATE_90}")
            saveAttributes()
        }
        val picture = read(file).picture
        assertEquals(listOf(30, 60), listOf(picture.width, picture.height))
        assertTrue("the left is on top", Color.red(picture.argb.first()) > 200)
        assertTrue(Color.blue(picture.argb.last()) > 200)
    }

    private fun refuses(message: String, file: File, permitted: Boolean = true) {
        val error = assertThrows(IOException::class.java) { read(file, permitted) }
        assertTrue(error.message, message in error.message!!)
    }

    @Test
    fun whatIsNoPictureIsRefused() {
        refuses("is no picture that Android can read", folder.newFile("empty.png"))
        val text = folder.newFile("text.png").apply { writeText("no picture") }
        refuses("is no picture that Android can read", text)
        refuses("Permission Denial", text, permitted = false)
        refuses("No such file", File(folder.root, "gone.png"))
    }
}
