package io.hydraopt.demo

import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

/** Pictures of the app at work, with the zoo, for people to look at. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35], qualifiers = Phone.SIZE)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class ScreenshotTest {
    private fun answered(): Phone {
        Fixtures.linked("zoo", Phone.pushed)
        val phone = Phone().start()
        phone.awaitRest()
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
        val phone = answered()
        phone.change("+land")
        phone.screenshot("landscape")
    }

    @Test
    fun largeText() {
        RuntimeEnvironment.setFontScale(1.8f)
        answered().screenshot("large-text")
    }

    @Test
    fun tasks() {
        val phone = answered()
        phone.tap(R.id.task)
        phone.search("de")
        phone.screenshot("tasks")
    }

    @Test
    fun first() {
        val phone = Phone().start()
        phone.awaitRest()
        phone.screenshot("first")
    }

    @Test
    fun error() {
        val phone = answered()
        phone.type(R.id.prompt, "x".repeat(400))
        phone.tap(R.id.run)
        phone.awaitRest()
        phone.screenshot("error")
    }
}
