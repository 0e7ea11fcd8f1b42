import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.library)
    alias(libs.plugins.kotlin.android)
    `maven-publish`
}

android {
    namespace = "io.hydraopt"
    compileSdk = libs.versions.compileSdk.get().toInt()

    defaultConfig {
        minSdk = libs.versions.minSdk.get().toInt()
        consumerProguardFiles("consumer-rules.pro")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
    publishing { singleVariant("release") { withSourcesJar() } }
}

kotlin {
    compilerOptions { jvmTarget = JvmTarget.JVM_1_8 }
}

dependencies {
    // api: an app packages it; nothing in it uses AndroidX
    api(libs.executorch) { exclude(group = "androidx.core") }
}

publishing {
    publications {
        register<MavenPublication>("release") {
            groupId = "io.hydraopt"
            artifactId = "hydraopt"
            version = "0.3.0"
            pom {
                name = "hydraopt"
                description = "Many LoRA adapters, one on-device model"
                licenses {
                    license {
                        name = "Apache-2.0"
                        url = "https://www.apache.org/licenses/LICENSE-2.0"
                    }
                }
            }
            afterEvaluate { from(components["release"]) }
        }
    }
}
